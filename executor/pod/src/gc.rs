//! Marking what has ended and removing what nobody wants any more.

use std::time::Duration;

use appc::PodUuid;
use rustix::io::Errno;

use crate::dir::ctime_ns;
use crate::listing::{old_embryos, uuids};
use crate::root::{Pods, path};
use crate::{Place, PodError, TreeRemover, creation, handle, lock, names};

/// What a gc may remove.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// How long an exited pod stays after it was marked.
    pub grace: Duration,
    /// How long a prepared pod waits for its run.
    pub expire_prepared: Duration,
    /// Only mark: nothing is expired or removed.
    pub mark_only: bool,
}

impl Default for GcOptions {
    /// rkt's defaults: half an hour and a day.
    fn default() -> Self {
        Self { grace: Duration::from_mins(30), expire_prepared: Duration::from_hours(24), mark_only: false }
    }
}

/// What a gc did, pod by pod.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// Exited pods that were marked: moved to `exited-garbage`.
    pub marked: Vec<PodUuid>,
    /// Pods whose preparation was abandoned: moved to `garbage`.
    pub aborted: Vec<PodUuid>,
    /// Prepared pods that nobody ran in time: moved to `garbage`.
    pub expired: Vec<PodUuid>,
    /// Marked pods that stay, and for how much longer.
    pub within_grace: Vec<(PodUuid, Duration)>,
    /// Pods that are gone now, the embryos of dead creators among them.
    pub removed: Vec<PodUuid>,
    /// Pods that could not be treated, and why. The others were.
    pub failures: Vec<(PodUuid, PodError)>,
}

impl Pods {
    /// Marks exited pods and removes what is due.
    ///
    /// Ages are taken from the time a pod was moved to its place (its directory's ctime). A pod from the future is
    /// young. A clock that jumps ahead shortens grace periods; a pod whose lock is held is never touched.
    ///
    /// # Errors
    /// [`PodError`] if the places cannot be read; the failure of a single pod is in the report.
    pub fn gc(&self, options: &GcOptions, remover: &dyn TreeRemover) -> Result<GcReport, PodError> {
        self.root.check_writable()?;
        let mut report = GcReport::default();
        let old = old_embryos(&self.root)?.into_iter().map(|uuid| (uuid, format!("{}/{uuid}", Place::Embryo)));
        let embryos = uuids(&self.root, Place::Embryo)?.into_iter().map(|uuid| (uuid, path(Place::Embryo, uuid)));
        for (uuid, embryo) in embryos.chain(old) {
            match creation::sweep_embryo(&self.root.dir, &embryo) {
                Ok(true) => report.removed.push(uuid),
                Ok(false) => {}
                Err(e) => report.failures.push((uuid, e)),
            }
        }
        for uuid in uuids(&self.root, Place::Run)? {
            note(
                self.move_if_free(uuid, Place::Run, Place::ExitedGarbage),
                uuid,
                &mut report.marked,
                &mut report.failures,
            );
        }
        for uuid in uuids(&self.root, Place::Prepare)? {
            note(
                self.move_if_free(uuid, Place::Prepare, Place::Garbage),
                uuid,
                &mut report.aborted,
                &mut report.failures,
            );
        }
        if options.mark_only {
            return Ok(report);
        }
        for uuid in uuids(&self.root, Place::Prepared)? {
            note(self.expire(uuid, options.expire_prepared), uuid, &mut report.expired, &mut report.failures);
        }
        for uuid in uuids(&self.root, Place::ExitedGarbage)? {
            match self.time_left(Place::ExitedGarbage, uuid, options.grace) {
                Ok(Some(Duration::ZERO)) => {
                    if let Err(e) = self.discard_exited(uuid) {
                        report.failures.push((uuid, e));
                    }
                }
                Ok(Some(left)) => report.within_grace.push((uuid, left)),
                Ok(None) => {}
                Err(e) => report.failures.push((uuid, e)),
            }
        }
        for uuid in uuids(&self.root, Place::Garbage)? {
            note(self.sweep(uuid, lock::SHORT_PATIENCE, remover), uuid, &mut report.removed, &mut report.failures);
        }
        names::sweep(&self.root)?;
        Ok(report)
    }

    /// Moves a pod to garbage if it has waited too long. Nobody needs the lock for that: of this rename and that of
    /// `run-prepared`, one fails.
    fn expire(&self, uuid: PodUuid, after: Duration) -> Result<bool, PodError> {
        match self.time_left(Place::Prepared, uuid, after)? {
            Some(Duration::ZERO) => self.try_move(uuid, Place::Prepared, Place::Garbage),
            _ => Ok(false),
        }
    }

    /// What is left of `span` since the pod came to `place`; `None` if it is not there.
    fn time_left(&self, place: Place, uuid: PodUuid, span: Duration) -> Result<Option<Duration>, PodError> {
        match self.root.dir.stat(&path(place, uuid)) {
            Ok(stat) => {
                let age = Duration::from_nanos(handle::now_ns().saturating_sub(ctime_ns(&stat)));
                Ok(Some(span.saturating_sub(age)))
            }
            Err(e) if e.source == Errno::NOENT => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn note(done: Result<bool, PodError>, uuid: PodUuid, list: &mut Vec<PodUuid>, failures: &mut Vec<(PodUuid, PodError)>) {
    match done {
        Ok(true) => list.push(uuid),
        Ok(false) => {}
        Err(e) => failures.push((uuid, e)),
    }
}
