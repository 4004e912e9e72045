//! Apps that leave a running pod.

use super::Monitor;
use crate::channel::{FailureKind, ToInit};
use crate::control::ConnectionId;
use crate::protocol::{EventKind, RefusedKind, Reply};
use crate::run::{Keeper, RunError};
use crate::supervise::Phase;

impl Monitor<'_> {
    /// Takes an app that does not run out of the pod, and its directories with it.
    pub(super) fn remove(
        &mut self,
        connection: ConnectionId,
        name: &str,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        if matches!(self.supervisor.apps()[app].phase, Phase::Active(_) | Phase::Waiting) {
            self.refuse(connection, RefusedKind::State, &format!("app {name:?} is running"));
            return Ok(());
        }
        self.let_go(app)?;
        if let Some(metadata) = &mut self.metadata {
            metadata.app_removed(name, &self.manifest);
        }
        let removed = name.parse().map_err(Into::into).and_then(|name| {
            let written = keeper.manifest_changed(&self.manifest);
            keeper.remove_app(&name)?;
            // Where the disk was full there may be room now.
            written.or_else(|_| keeper.manifest_changed(&self.manifest))
        });
        match removed {
            Ok(()) => self.reply(connection, &Reply::Done),
            Err(error) => {
                self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), &crate::run::chain(&*error));
            }
        }
        self.tell(Some(name.to_owned()), EventKind::Removed, None);
        Ok(())
    }

    /// Lets go of an app that does not run. Nothing is kept open for it: others may come and go as long as the pod runs.
    pub(super) fn let_go(&mut self, app: usize) -> Result<(), RunError> {
        self.supervisor.remove(app);
        self.outputs.forget(app);
        let record = &mut self.apps[app];
        record.cgroup = None;
        let name = record.report.name.clone();
        self.manifest.apps.retain(|known| known.name.as_str() != name);
        self.say(&ToInit::Remove { app })?;
        if let (Some(cgroup), Ok(name)) = (&self.cgroup, name.parse()) {
            cgroup.remove_app(&name);
        }
        Ok(())
    }
}
