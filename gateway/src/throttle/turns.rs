//! The turns of new sessions: so many a second for each address and for all, so that a storm of them is spread out.

use std::net::IpAddr;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::kind::Scope;

/// Addresses that are remembered; it takes that many sessions within one second, each from another, to exceed it.
const MAX_ADDRESSES: usize = 100_000;

/// When the next session's turn would be. See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    tenant: Option<Instant>,
    addresses: FxHashMap<IpAddr, Instant>,
}

/// Sessions a second; 0 for any number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) tenant: u64,
    pub(super) address: u64,
}

/// A turn that can be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// When it is.
    pub(super) at: Instant,
    /// Whose limit makes it wait for longest.
    pub(super) scope: Scope,
    of_tenant: Instant,
    of_address: Instant,
    address: IpAddr,
    rates: Rates,
}

impl Turns {
    /// The next turn of this address.
    pub(super) fn next(&self, address: IpAddr, rates: Rates, now: Instant) -> Turn {
        let of_address = self.addresses.get(&address).filter(|_| rates.address > 0);
        let of_address = of_address.map_or(now, |turn| now.max(*turn));
        let of_tenant = self.tenant.filter(|_| rates.tenant > 0).map_or(now, |turn| now.max(turn));
        let scope = if of_tenant > of_address { Scope::Tenant } else { Scope::Address };
        Turn { at: of_address.max(of_tenant), scope, of_tenant, of_address, address, rates }
    }

    /// Takes it: one session's share of a second, of the address's and of the tenant's. Whoever waits for its own address
    /// does not make others wait.
    pub(super) fn take(&mut self, turn: Turn) {
        let after = |rate: u64| Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX).max(1);
        let Turn { of_tenant, of_address, address, rates, .. } = turn;
        self.tenant = (rates.tenant > 0).then(|| of_tenant + after(rates.tenant));
        if rates.address > 0
            && (self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&address))
        {
            self.addresses.insert(address, of_address + after(rates.address));
        }
    }

    /// Forgets whose turn may be now.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.addresses.retain(|_, turn| *turn > now);
        self.addresses.shrink_to(1_024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn sessions_of_an_address_are_apart_and_leave_room_to_others() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let rates = Rates { tenant: 100, address: 10 };
        let mut taken = |last: u8| {
            let turn = turns.next(address(last), rates, now);
            turns.take(turn);
            ((turn.at - now).as_millis(), turn.scope)
        };
        assert_eq!(taken(1).0, 0);
        assert_eq!([taken(1), taken(1)], [(100, Scope::Address), (200, Scope::Address)]);
        assert_eq!(taken(2), (30, Scope::Tenant), "the others' share of the tenant's, not their waiting");
        turns.tidy(now + Duration::from_secs(1));
        assert!(turns.addresses.is_empty());
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        for _ in 0..1_000 {
            let turn = turns.next(address(1), Rates { tenant: 0, address: 0 }, now);
            assert_eq!(turn.at, now);
            turns.take(turn);
        }
        assert!(turns.addresses.is_empty());
    }
}
