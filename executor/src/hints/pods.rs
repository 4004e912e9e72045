//! About pods: what they are made of, and what becomes of them.

use std::error::Error;

use pod::{FindError, PodError};
use stage1::plan::PlanError;
use stage1::run::RunError;
use stage1::userns::UsernsError;

use super::{NEWER, about};
use crate::manifest::ReifyError;
use crate::sources::SourceError;

const DAMAGED: &str = "the pod is damaged: `proa rm` removes it";
const LIST: &str = "`proa list` shows the pods there are";

pub(super) fn of(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    about(cause, reify)
        .or_else(|| about(cause, source))
        .or_else(|| about(cause, plan))
        .or_else(|| about(cause, run))
        .or_else(|| about(cause, directory))
        .or_else(|| about(cause, namespace))
        .or_else(|| about(cause, |_: &FindError| Some(LIST)))
}

fn directory(error: &PodError) -> Option<&'static str> {
    match error {
        PodError::NewerFormat { .. } => Some(NEWER),
        PodError::NotFound { .. } => Some(LIST),
        PodError::Changed { .. } => Some("try again: somebody else has just given it other limits"),
        PodError::WrongState { .. } => Some("end it first: `proa stop`"),
        PodError::Manifest { .. } => Some(DAMAGED),
        PodError::Call(call) if call.path.ends_with("/pod") => Some(DAMAGED),
        _ => None,
    }
}

fn namespace(error: &UsernsError) -> Option<&'static str> {
    match error {
        UsernsError::Killed(9) => Some("is there enough memory? The kernel kills what takes too much: `dmesg` tells"),
        _ => None,
    }
}

fn run(error: &RunError) -> Option<&'static str> {
    match error {
        // Its source is the plan's: that it is one shows here alone.
        RunError::Plan(error) => plan(error),
        _ => None,
    }
}

fn plan(error: &PlanError) -> Option<&'static str> {
    match error {
        PlanError::ReservedPath { .. } | PlanError::BadPath { .. } => Some("choose another target for the volume"),
        PlanError::BadOwner { .. } => Some("an owner is written as in uid=1000,gid=1000"),
        PlanError::UnmappedOwner { .. } => {
            Some("choose another owner; `proa doctor` says whether you have a subordinate id range")
        }
        PlanError::BadGroup { .. } | PlanError::UnmappedGroup { .. } => Some("choose others with --supplementary-gids"),
        _ => None,
    }
}

fn source(error: &SourceError) -> Option<&'static str> {
    Some(match error {
        SourceError::Stat { .. } => "a source must be there, and reachable for you: proa makes none",
        SourceError::Symlink { .. } => "write the path it leads to, or give --follow-symlinks",
        SourceError::DataDir { .. } => "share another directory: an app could change images and pods through this one",
        SourceError::KernelInterface { may_be_read: true, .. } => "share it with readOnly=true, or another directory",
        SourceError::KernelInterface { .. } => "share the directories that the app needs, not this one",
        SourceError::Device { .. } => {
            "apps open a device with your rights: it takes a udev rule, or chmod, to have them"
        }
        SourceError::FindDataDir { .. } | SourceError::Mounts(_) => return None,
    })
}

fn reify(error: &ReifyError) -> Option<&'static str> {
    Some(match error {
        ReifyError::NoPlatform { .. } => "build the image again with the labels os and arch",
        ReifyError::OtherLabel { .. } => "correct the pod manifest, or get the image that it means",
        ReifyError::BadMount { .. } => "write the whole path, from the root of the app's file system",
        ReifyError::ForeignPlatform { .. } => "get or build the image for this kind of machine",
        ReifyError::NoApp(_) => "give the executable after the image: --exec /path/in/image",
        ReifyError::NoExec { .. } => "give the executable after the image: --exec /path/in/image -- ARGS",
        ReifyError::NoName { .. } => "name the app after the image: --name NAME",
        ReifyError::DuplicateVolume(_) => "give each volume a name of its own",
        ReifyError::BadMode { .. } => "write the permissions as in mode=0755",
        ReifyError::NoVolume { .. } => "declare it before the first image: --volume NAME,kind=host,source=/PATH",
        ReifyError::Overlap { .. } => "choose places of which none lies in another",
        ReifyError::LongName { what: "app", .. } => "give a shorter one after its image: --name NAME",
        ReifyError::LongName { .. } => "give a shorter one",
        ReifyError::TooManyApps(_) => "make several pods, on a network of pods: --net NAME",
        ReifyError::DuplicateApp(_) => "name one of them after its image: --name NAME",
        _ => "correct the image's manifest and build it again",
    })
}
