//! How many requests of each type were carried out (Apache `FinalRequestProcessor.incrementOpCount`).

use palisade_wire::OpCode;

palisade_admin::metrics! {
    /// Requests that were carried out: reads, whatever they found, and writes that did not fail. A multi counts as one,
    /// also if it failed.
    pub(crate) struct Operations {
        /// Persistent watches added.
        op_count_add_watch: Counter,
        /// Questions whether a watch is set.
        op_count_check_watches: Counter,
        /// Sessions closed by their clients.
        op_count_close_session: Counter,
        /// Znodes created, of any kind.
        op_count_create: Counter,
        /// Sessions begun.
        op_count_create_session: Counter,
        /// Znodes deleted.
        op_count_delete: Counter,
        /// Reads of a Stat.
        op_count_exists: Counter,
        /// Reads of an ACL.
        op_count_get_acl: Counter,
        /// Counts of descendants.
        op_count_get_all_children_number: Counter,
        /// Lists of children, with and without the Stat.
        op_count_get_children: Counter,
        /// Reads of data.
        op_count_get_data: Counter,
        /// Lists of a session's ephemeral znodes.
        op_count_get_ephemerals: Counter,
        /// Several writes at once.
        op_count_multi: Counter,
        /// Several reads at once.
        op_count_multi_read: Counter,
        /// Pings.
        op_count_ping: Counter,
        /// Changes of the ensemble.
        op_count_reconfig: Counter,
        /// Watches removed by their clients.
        op_count_remove_watches: Counter,
        /// ACLs replaced.
        op_count_set_acl: Counter,
        /// Data replaced.
        op_count_set_data: Counter,
        /// Watches registered again after a reconnect: requests, however many watches they name.
        op_count_set_watches: Counter,
        /// Syncs.
        op_count_sync: Counter,
        /// Lists of a connection's identities.
        op_count_who_am_i: Counter,
    }
}

impl Operations {
    /// So many requests of a type were carried out.
    pub(crate) fn count(&self, op: OpCode, times: u64) {
        let counter = match op {
            OpCode::AddWatch => &self.op_count_add_watch,
            OpCode::CheckWatches => &self.op_count_check_watches,
            OpCode::CloseSession => &self.op_count_close_session,
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                &self.op_count_create
            }
            OpCode::CreateSession => &self.op_count_create_session,
            OpCode::Delete => &self.op_count_delete,
            OpCode::Exists => &self.op_count_exists,
            OpCode::GetAcl => &self.op_count_get_acl,
            OpCode::GetAllChildrenNumber => &self.op_count_get_all_children_number,
            OpCode::GetChildren | OpCode::GetChildren2 => &self.op_count_get_children,
            OpCode::GetData => &self.op_count_get_data,
            OpCode::GetEphemerals => &self.op_count_get_ephemerals,
            OpCode::Multi => &self.op_count_multi,
            OpCode::MultiRead => &self.op_count_multi_read,
            OpCode::Ping => &self.op_count_ping,
            OpCode::Reconfig => &self.op_count_reconfig,
            OpCode::RemoveWatches => &self.op_count_remove_watches,
            OpCode::SetAcl => &self.op_count_set_acl,
            OpCode::SetData => &self.op_count_set_data,
            OpCode::SetWatches | OpCode::SetWatches2 => &self.op_count_set_watches,
            OpCode::Sync => &self.op_count_sync,
            OpCode::WhoAmI => &self.op_count_who_am_i,
            OpCode::Notification
            | OpCode::Check
            | OpCode::DeleteContainer
            | OpCode::Auth
            | OpCode::Sasl
            | OpCode::Error => return,
        };
        counter.add(times);
    }
}

/// Requests of one type that follow each other: most clients ask the same again and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    op: OpCode,
    times: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self { op: OpCode::Ping, times: 0 }
    }
}

impl Run {
    /// One more was carried out.
    pub(crate) fn add(&mut self, op: OpCode, operations: &Operations) {
        if self.op != op {
            self.end(operations);
            self.op = op;
        }
        self.times += 1;
    }

    /// Counts those so far.
    pub(crate) fn end(&mut self, operations: &Operations) {
        if self.times > 0 {
            operations.count(self.op, std::mem::take(&mut self.times));
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_admin::metric::Value;

    use super::*;

    #[test]
    fn runs_count_each_request_once() {
        let (operations, mut run) = (Operations::default(), Run::default());
        for op in [OpCode::GetData, OpCode::GetData, OpCode::Exists, OpCode::GetData, OpCode::Create2] {
            run.add(op, &operations);
        }
        assert_eq!(operations.op_count_create.get(), 0, "not before the run's end");
        run.end(&operations);
        run.end(&operations);
        let counted: Vec<_> =
            operations.samples().into_iter().filter(|s| s.value != Value::Counter(0)).collect();
        let counted: Vec<_> = counted.iter().map(|sample| (&*sample.name, &sample.value)).collect();
        let [one, three] = [1, 3].map(Value::Counter);
        let expected = [("op_count_create", &one), ("op_count_exists", &one), ("op_count_get_data", &three)];
        assert_eq!(counted, expected);
    }
}
