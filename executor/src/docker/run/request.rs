//! What was typed after `docker run` as the pod that is meant.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;

use fetch::{ImageRef, oci};
use pod::PodName;
use serde_json::{Value, json};
use stage1::health::HEALTHCHECK;
use stage1::isolators::choices::{PIDS_LIMIT, SHM_SIZE};
use stage1::isolators::ulimits::ULIMITS;
use stage1::plan::tmpfs::TMPFS;
use stage1::plan::{DOCKERS_RULES, ENVIRONMENT, FILLED, GROUPS, IMAGE_CONTENT};
use stage1::supervise::Restart;

use super::{Pull, RunArgs};
use crate::annotations::{Remarks, STOP_TIMEOUT, TYPED_IMAGE};
use crate::context::Context;
use crate::docker::label_option::{labels, labels_of_files};
use crate::docker::network_option::{Exposing, Wiring};
use crate::docker::variable_option::variables;
use crate::docker::volume_option::Mounts;
use crate::docker::{container, image, limit_option, ulimit_option};
use crate::environment::PodEnvironment;
use crate::error::CommandError;
use crate::launch::TERM;
use crate::prepare::Begin;
use crate::prepare::{self, PreparedPod};
use crate::progress::ProgressForm;
use crate::pull_policy::{PullPolicy, Pulling};
use crate::request::{self, AppRequest, Lifecycle, PodRequest};
use crate::setup::Life;
use crate::userns::Userns;
use crate::uuid_file::UuidFile;
use crate::{devices, leftover, output, relay};

/// A container that is wanted.
#[derive(Debug)]
pub(in crate::docker) struct Wanted {
    pub(in crate::docker) pod: PodRequest,
    exposing: Exposing,
    /// As long as these are open, nobody removes its named volumes.
    held: Vec<OwnedFd>,
}

impl Wanted {
    /// Prepares it.
    ///
    /// # Errors
    ///
    /// Those of preparing a pod; no port of the host is free.
    pub(in crate::docker) fn prepared(self, context: &Context) -> Result<PreparedPod, CommandError> {
        // A container has a monitor of its own, which is the first that can run it.
        let mut pod = prepare::pod(context, self.pod, Begin::Later)?;
        self.exposing.finish(&mut pod)?;
        pod.guards.extend(self.held);
        Ok(pod)
    }
}

/// What was typed as the container that is meant.
///
/// # Errors
///
/// It makes no sense, or names what is not there.
pub(in crate::docker) fn of(context: &Context, args: RunArgs) -> Result<Wanted, CommandError> {
    let Wiring { net, ports, exposing } = args.network.wiring(context)?;
    args.noted.tell()?;
    args.limits.tell_unheld();
    let lifecycle = lifecycle(&args)?;
    let (word, words) = args.words.split_first().ok_or_else(|| CommandError::usage("which image?"))?;
    let (image, policy) = image(context, word, args.pull, args.quiet)?;
    let mut environment = PodEnvironment::gather_as_docker(&args.env_file, &variables(&args.env)?)?;
    let odd_variables = environment.take_odd();
    let mut pod = PodRequest {
        name: args.name.clone().and_then(said).map(|name| free_name(context, &name)).transpose()?,
        pulling: Pulling { policy, progress: if args.quiet { ProgressForm::None } else { ProgressForm::Auto } },
        lifecycle,
        follow_symlinks: true,
        all_net_admins: args.protection.adds_net_admin(),
        net: Some(net),
        isolators: args.protection.of_pod()?,
        ports,
        environment,
        remarks: Remarks {
            user_labels: labels(&[labels_of_files(&args.label_file)?, args.label.clone()].concat()),
            user_annotations: labels(&args.annotation),
            ..Remarks::default()
        },
        ..PodRequest::default()
    };
    let mut mounts = args.mounts.declare(context, &mut pod.volumes)?;
    let held = std::mem::take(&mut mounts.held);
    pod.userns = args.userns.unwrap_or_else(|| userns(&args, mounts.writes_to_host));
    for device in devices::parse(&args.device)? {
        mounts.mounts.push(devices::mount(&device, &mut pod.volumes)?);
    }
    for (name, value) in bounds(&args)? {
        pod.remarks.annotations.set(name.parse().expect("names of annotations of ours are identifiers"), value);
    }
    pod.apps = vec![app(&args, (image, word), words, (mounts, odd_variables))?];
    Ok(Wanted { pod, exposing, held })
}

/// What bounds it, and its end, beside its app's isolators, as annotations of the pod.
fn bounds(args: &RunArgs) -> Result<Vec<(&'static str, String)>, CommandError> {
    let bytes = |text: String| limit_option::bytes("--shm-size", &text, "4k");
    let shm = args.shm_size.clone().and_then(said).map(bytes).transpose()?.flatten();
    let shm = shm.map(|bytes| bytes.to_string());
    let processes = args.pids_limit.clone().and_then(said).map(|text| limit_option::processes(&text)).transpose()?;
    let processes = processes.flatten().map(|number| number.to_string());
    let seconds = |text: String| match text.parse::<i32>() {
        Ok(_) => Ok(text),
        Err(_) => {
            Err(CommandError::usage(format!("--stop-timeout {text}: wanted a number of seconds, or -1 for ever")))
        }
    };
    let timeout = args.stop_timeout.clone().and_then(said).map(seconds).transpose()?;
    let ulimits = ulimit_option::list(&args.ulimit)?;
    let all = [(SHM_SIZE, shm), (ULIMITS, ulimits), (PIDS_LIMIT, processes), (STOP_TIMEOUT, timeout)];
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// Where the container's user is to be the caller by number (`-u "$(id -u)"`) and writes to something of the host's, it is the caller:
/// with docker's daemon, whose containers have the host's numbers, it is that by itself.
fn userns(args: &RunArgs, writes_to_host: bool) -> Userns {
    let own = rustix::process::geteuid();
    let user = args.user.as_deref().map_or("", |user| user.split_once(':').map_or(user, |(user, _)| user));
    if !own.is_root() && user.parse() == Ok(own.as_raw()) && writes_to_host { Userns::KeepId } else { Userns::Auto }
}

/// How it lives and ends.
fn lifecycle(args: &RunArgs) -> Result<Lifecycle, CommandError> {
    let restarts = restart(&args.restart)?;
    if args.rm && restarts != Restart::No {
        return Err(CommandError::usage("Conflicting options: --restart and --rm"));
    }
    let cidfile = args.cidfile.as_ref().map(std::path::absolute).transpose()?.map(UuidFile::Cid);
    cidfile.as_ref().map_or(Ok(()), UuidFile::check)?;
    let input_is_terminal = std::io::stdin().is_terminal();
    let (detach, stdin, keep) = (args.detach, args.interactive, !args.rm);
    // With -i and input from elsewhere there is no key to say where it ends: no terminal then.
    let tty = args.tty && (!stdin || detach || input_is_terminal);
    let attached = !detach && (tty || keep);
    Ok(Lifecycle {
        detach,
        // Streams that are passed through need nobody to hold them.
        interactive: stdin && (attached || detach),
        attached,
        terminal: tty.then(relay::size),
        term: Some(TERM),
        keep,
        restart: restarts,
        life: Some(Life { stdin, tty, remove: !keep, restart: args.restart.clone() }),
        hostname: args.hostname.clone().and_then(said).map(request::hostname).transpose()?,
        host_is_named: true,
        uuid_file: cidfile,
        ..Lifecycle::default()
    })
}

/// Its app: of this image, which was typed so, with these words after it.
fn app(
    args: &RunArgs,
    (image, typed): (ImageRef, &OsString),
    words: &[OsString],
    (mounts, odd_variables): (Mounts, Vec<String>),
) -> Result<AppRequest, CommandError> {
    let mut words = request::args(words.to_vec())?;
    let mut exec = args.entrypoint.clone();
    if exec.as_ref().is_some_and(String::is_empty) {
        // It resets what the image has: the command is all there is.
        if words.is_empty() {
            return Err(CommandError::failed("no command specified"));
        }
        exec = Some(words.remove(0));
    }
    let (user, group) = split_user(args.user.clone());
    let (gids, group_names): (Vec<String>, Vec<String>) =
        args.group_add.iter().cloned().partition(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
    let gids = (!gids.is_empty()).then(|| request::gids(&gids.join(","))).transpose()?;
    let Mounts { mounts, filled, content, memory, .. } = mounts;
    let lists = [(FILLED, filled), (IMAGE_CONTENT, content), (GROUPS, group_names), (ENVIRONMENT, odd_variables)];
    let mut notes: Vec<(&str, String)> = vec![(DOCKERS_RULES, "true".to_owned())];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    notes.extend(lists.map(|(name, list)| (name, Value::from(list).to_string())));
    notes.extend(typed.to_str().filter(|_| matches!(image, ImageRef::Id(_))).map(|it| (TYPED_IMAGE, it.to_owned())));
    if !memory.is_empty() {
        notes.push((TMPFS, json!(memory).to_string()));
    }
    if let Some(signal) = args.stop_signal.clone().and_then(said) {
        crate::signal_argument::parse(&signal)?;
        notes.push((oci::STOP_SIGNAL, signal));
    }
    notes.extend(args.health.annotation()?.map(|check| (HEALTHCHECK, check)));
    let mut isolators = args.limits.of_app()?;
    isolators.extend(args.protection.of_app()?);
    let mut remarks = Remarks::default();
    for (name, value) in notes {
        remarks.annotations.set(name.parse().expect("names of annotations are identifiers"), value);
    }
    Ok(AppRequest {
        exec,
        args: (!words.is_empty()).then_some(words),
        user,
        group,
        supplementary_gids: gids,
        working_directory: args.workdir.clone().and_then(said).map(request::working_directory).transpose()?,
        read_only_root: args.read_only,
        mounts,
        isolators,
        seccomp_profile: args.protection.seccomp_profile()?,
        remarks,
        ..AppRequest::of(image)
    })
}

/// A name that no container has. Somebody may take it meanwhile, and is told then in proa's words.
fn free_name(context: &Context, name: &str) -> Result<PodName, CommandError> {
    let parsed: PodName = name.parse().map_err(|error| CommandError::usage(format!("--name: {error}")))?;
    let pods = context.pods()?;
    let holder = pods.find(name).ok().filter(|entry| entry.name.as_ref() == Some(&parsed));
    match holder.filter(|entry| !leftover::is_one(&pods, entry)) {
        Some(entry) => Err(container::conflict(&parsed, entry.uuid)),
        None => Ok(parsed),
    }
}

/// A policy as docker has it.
pub(in crate::docker) fn restart(text: &str) -> Result<Restart, CommandError> {
    let known = "no, on-failure, on-failure:N, always, unless-stopped";
    request::restart(match text {
        "unless-stopped" => "always",
        "" => "no",
        text => text,
    })
    .map_err(|_| CommandError::usage(format!("--restart={text:?}: not one of {known}")))
}

/// The image, and whether its registry is asked. Says so if it is not there, as docker does.
fn image(context: &Context, word: &OsString, pull: Pull, quiet: bool) -> Result<(ImageRef, PullPolicy), CommandError> {
    let (image, stored) = image::reference(context, &context.stored()?, word)?;
    match (pull, &image) {
        (Pull::Always, ImageRef::Id(_)) => {
            let name = word.to_str().unwrap_or_default().to_owned();
            Ok((ImageRef::Registry(name), PullPolicy::Update))
        }
        (Pull::Never, ImageRef::Registry(name)) if !stored => Err(image::not_found(name)),
        (Pull::Missing, ImageRef::Registry(name)) if !stored => {
            let missing = image::not_found(name).chain();
            let name = missing.trim_start_matches("No such image: ");
            if !quiet {
                output::complain(&format!("Unable to find image '{name}' locally\n"));
            }
            Ok((image, PullPolicy::New))
        }
        _ => Ok((image, PullPolicy::New)),
    }
}

/// The value of an option, as docker has it: one that is empty was not given.
pub(in crate::docker) fn said(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

/// `USER[:GROUP]`.
pub(in crate::docker) fn split_user(user: Option<String>) -> (Option<String>, Option<String>) {
    let Some(text) = user.and_then(said) else { return (None, None) };
    match text.split_once(':') {
        Some((user, group)) => (said(user.to_owned()), said(group.to_owned())),
        None => (Some(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups() {
        let split = |text: &str| split_user(Some(text.to_owned()));
        let owned = |text: &str| Some(text.to_owned());
        assert_eq!(split("1000"), (owned("1000"), None));
        assert_eq!(split("web:www"), (owned("web"), owned("www")));
        assert_eq!(split(":5"), (None, owned("5")));
        assert_eq!(split("0:"), (owned("0"), None));
        assert_eq!(split(":"), (None, None));
        assert_eq!(split(""), (None, None));
    }
}
