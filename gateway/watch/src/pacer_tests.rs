use super::*;

const PACING: Pacing =
    Pacing { above: 64, rate: 1_000, window: Duration::from_secs(2), reread_rate: 0, merge: false };
const TIMEOUT: Duration = Duration::from_secs(30);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn slot(index: usize) -> Slot {
    Slot::new(index).unwrap()
}

/// Polls whenever it is time; when each of the slots left.
fn run(
    pacer: &mut Pacer,
    from: Duration,
    told: impl FnMut(&mut Vec<WaveId>, WaveId),
) -> Vec<(Duration, Slot)> {
    run_with(pacer, from, 1, told)
}

/// The same where each slot is told so many events.
fn run_with(
    pacer: &mut Pacer,
    from: Duration,
    events: usize,
    mut told: impl FnMut(&mut Vec<WaveId>, WaveId),
) -> Vec<(Duration, Slot)> {
    let (mut now, mut left) = (from, Vec::new());
    while let Some(next) = pacer.next() {
        now = now.max(next);
        let mut waves = Vec::new();
        pacer.poll(now, |slot, wave| {
            left.push((now, slot));
            told(&mut waves, wave);
            events
        });
        for wave in waves {
            pacer.reread(wave, now);
        }
        now += ms(1);
    }
    left
}

fn peak(left: &[(Duration, Slot)], span: Duration) -> usize {
    (0..left.len())
        .map(|i| left[i..].iter().take_while(|(at, _)| *at < left[i].0 + span).count())
        .max()
        .unwrap_or(0)
}

#[test]
fn small_changes_are_not_paced() {
    assert!(!PACING.applies_to(64));
    assert!(PACING.applies_to(65));
    assert!(!Pacing { rate: 0, ..PACING }.applies_to(1_000_000));
    assert_eq!(PACING.hold(ms(6_000)), ms(1_000));
    assert_eq!(PACING.hold(TIMEOUT), ms(2_000));
}

#[test]
fn waves_keep_the_rate_and_the_order() {
    let mut pacer = Pacer::new(PACING);
    (0..1_500).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(500)));
    let left = run(&mut pacer, ms(500), |_, _| {});
    assert!(left.iter().map(|(_, slot)| slot.index()).eq(0..1_500));
    let (first, last) = (left[0].0, left[1_499].0);
    assert_eq!(first, ms(500));
    assert!((1_450..=1_550).contains(&(last - first).as_millis()), "{:?}", last - first);
    assert!(peak(&left, ms(1_000)) <= 1_050);
}

#[test]
fn who_is_told_early_counts_in_the_rate() {
    let mut pacer = Pacer::new(PACING);
    (0..1_500).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(0)));
    let mut waits = [true; 1_500];
    let mut told = 0;
    // A third of the rate is taken by pings, those of the last to be told.
    for wave in 0..50 {
        let early = 1_500 - 7 * (wave + 1);
        waits[early..early + 7].fill(false);
        pacer.told_early(7);
        pacer.poll(ms(20 * wave as u64), |slot, _| {
            told += usize::from(waits[slot.index()]);
            usize::from(waits[slot.index()])
        });
    }
    assert_eq!((told, told + 7 * 50), (635, 985));
    pacer.told_early(1_000_000);
    for wave in 50..=100 {
        pacer.poll(ms(20 * wave), |slot, _| {
            told += usize::from(waits[slot.index()]);
            usize::from(waits[slot.index()])
        });
    }
    assert_eq!((told, pacer.next()), (1_150, None), "but nobody waits for longer than he may");
}

#[test]
fn who_was_told_early_does_not_hurry_the_others() {
    let mut pacer = Pacer::new(PACING);
    (0..10_000).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(0)));
    pacer.told_early(9_000);
    assert_eq!(pacer.waiting(), 1_000);
    let mut left = Vec::new();
    for wave in 0..=100 {
        pacer.poll(ms(20 * wave), |slot, _| {
            let waits = slot.index() % 10 == 0;
            if waits {
                left.push((ms(20 * wave), slot));
            }
            usize::from(waits)
        });
    }
    assert_eq!((left.len(), pacer.waiting(), pacer.next()), (1_000, 0, None));
    assert!(peak(&left, ms(100)) <= 110, "{}", peak(&left, ms(100)));
}

#[test]
fn every_rate_is_kept() {
    let timeout = Duration::from_secs(3_600);
    for rate in [3, 60, 75, 99, 149, 501, 6_030] {
        let mut pacer = Pacer::new(Pacing { rate, window: timeout, ..PACING });
        (0..rate as usize * 4).for_each(|i| pacer.hold(slot(i), timeout, ms(0)));
        let left = run(&mut pacer, ms(0), |_, _| {});
        let (took, peak) = (left[left.len() - 1].0 - left[0].0, peak(&left, ms(1_000)) as u64);
        assert!((3_600..=4_100).contains(&took.as_millis()), "{rate}: {took:?}");
        assert!((rate..=rate + rate / 20 + 1).contains(&peak), "{rate}: {peak}");
    }
}

#[test]
fn time_in_which_nobody_waited_gives_nobody_more() {
    let mut pacer = Pacer::new(PACING);
    for at in [ms(0), ms(10_000), ms(20_003)] {
        (0..100).for_each(|i| pacer.hold(slot(i), TIMEOUT, at));
        let left = run(&mut pacer, at, |_, _| {});
        assert_eq!(left[0].0, at);
        assert!(peak(&left, WAVE) <= 6 && peak(&left, ms(50)) <= 56, "{left:?}");
    }
    pacer.hold(slot(0), TIMEOUT, ms(30_000));
    assert_eq!(run(&mut pacer, ms(30_000), |_, _| {}).len(), 1);
    pacer.hold(slot(0), TIMEOUT, ms(30_001));
    assert_eq!(pacer.next(), Some(ms(30_000) + WAVE), "but a wave that has just left is one");
}

#[test]
fn few_with_little_time_leave_evenly() {
    let mut pacer = Pacer::new(Pacing { rate: 20, ..PACING });
    (0..60).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(0)));
    let left = run(&mut pacer, ms(0), |_, _| {});
    assert!(left[59].0 <= ms(2_000));
    assert!(peak(&left, ms(500)) <= 17, "{}", peak(&left, ms(500)));
}

#[test]
fn what_the_rate_cannot_do_in_time_is_spread_over_the_time() {
    let mut pacer = Pacer::new(PACING);
    (0..10_000).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(0)));
    let left = run(&mut pacer, ms(0), |_, _| {});
    assert!(left[9_999].0 <= ms(2_000));
    assert!(peak(&left, ms(1_000)) <= 5_300, "{}", peak(&left, ms(1_000)));
}

#[test]
fn short_timeouts_come_first() {
    let mut pacer = Pacer::new(PACING);
    (0..2_000).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(0)));
    (2_000..2_500).for_each(|i| pacer.hold(slot(i), ms(4_000), ms(0)));
    let left = run(&mut pacer, ms(0), |_, _| {});
    assert!(left.iter().filter(|(_, slot)| slot.index() >= 2_000).all(|(at, _)| *at <= ms(667)));
    assert!(left.iter().all(|(at, _)| *at <= ms(2_000)));
}

#[test]
fn who_left_already_takes_no_place() {
    let mut pacer = Pacer::new(PACING);
    (0..100).for_each(|i| pacer.hold(slot(i), TIMEOUT, ms(0)));
    let mut left = Vec::new();
    pacer.poll(ms(0), |slot, _| {
        left.push(slot.index());
        usize::from(slot.index() >= 50)
    });
    assert_eq!(left, (0..55).collect::<Vec<_>>());
    assert_eq!(pacer.waiting(), 45);
}

#[test]
fn clients_that_read_more_are_told_more_slowly() {
    let pacing = Pacing { rate: 10_000, reread_rate: 1_000, window: Duration::from_secs(60), ..PACING };
    let timeout = Duration::from_secs(3_600);
    let mut pacer = Pacer::new(pacing);
    (0..12_000).for_each(|i| pacer.hold(slot(i), timeout, ms(0)));
    // Each reads four times.
    let left = run(&mut pacer, ms(0), |waves, wave| waves.extend([wave; 4]));
    let first = left.iter().filter(|(at, _)| *at < ms(1_000)).count();
    assert!((250..=310).contains(&first), "{first}: it begins with one read each, and not for long");
    let late: Vec<_> = left.iter().copied().filter(|(at, _)| (ms(20_000)..ms(30_000)).contains(at)).collect();
    assert!((240..=350).contains(&peak(&late, ms(1_000))), "{}", peak(&late, ms(1_000)));
    assert!(left.iter().all(|(at, _)| *at <= ms(60_000)));
}

#[test]
fn who_is_told_of_much_at_once_reads_much() {
    let pacing = Pacing { rate: 10_000, reread_rate: 1_000, window: Duration::from_secs(60), ..PACING };
    let timeout = Duration::from_secs(3_600);
    let mut pacer = Pacer::new(pacing);
    for (events, from) in [(20, ms(0)), (1, ms(100_000)), (10, ms(200_000))] {
        let count = 3_000 / events;
        (0..count).for_each(|i| pacer.hold(slot(i), timeout, from));
        let left = run_with(&mut pacer, from, events, |waves, wave| waves.extend(vec![wave; events]));
        let reads = peak(&left, ms(1_000)) * events;
        assert!((900..=1_100).contains(&reads), "{events}: {reads}");
    }
}

#[test]
fn it_can_be_changed_while_events_are_held() {
    let mut pacer = Pacer::new(PACING);
    (0..100).for_each(|i| pacer.hold(slot(i), Duration::from_secs(1_000), ms(0)));
    pacer.poll(ms(0), |_, _| 1);
    pacer.set_pacing(Pacing { rate: 0, ..PACING });
    pacer.poll(ms(20), |_, _| 1);
    assert_eq!((pacer.waiting(), pacer.next()), (0, None));
    assert!(pacer.reread(1, ms(21)) && pacer.reread(2, ms(21)) && !pacer.reread(0, ms(21)));
    assert!(!pacer.reread(2, ms(20) + REREAD), "whoever reads later does so for another reason");
}
