//! Another restart policy for a pod that runs.

use super::{Monitor, Waits};
use crate::channel::ToInit;
use crate::control::ConnectionId;
use crate::protocol::Reply;
use crate::supervise::Restart;

impl Monitor<'_> {
    /// Pid 1 may have been told to end with the app's program, and may be doing so by now: where that is to go on, pid 1 has to
    /// agree first.
    pub(super) fn change_policy(&mut self, connection: ConnectionId, policy: Restart) -> std::io::Result<()> {
        if policy == Restart::No || !(0..self.apps.len()).any(|app| self.supervisor.ends_with(app)) {
            self.supervisor.set_restart(policy);
            self.reply(connection, &Reply::Done);
            return Ok(());
        }
        self.say(&ToInit::Stay)?;
        self.waiting.insert(connection, Waits::Policy(policy));
        Ok(())
    }

    /// Pid 1 ends with no program any more.
    pub(super) fn stays(&mut self) {
        let wanted = |(id, waits): (&ConnectionId, &Waits)| match waits {
            Waits::Policy(policy) => Some((*id, *policy)),
            Waits::Added { .. } | Waits::Freed | Waits::Terminal { .. } => None,
        };
        let agreed: Vec<(ConnectionId, Restart)> = self.waiting.iter().filter_map(wanted).collect();
        for (connection, policy) in agreed {
            self.waiting.remove(&connection);
            self.supervisor.set_restart(policy);
            self.reply(connection, &Reply::Done);
        }
    }
}
