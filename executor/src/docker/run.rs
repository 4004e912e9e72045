//! `docker run`: a pod of one app.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fetch::{ImageRef, oci};
use pod::PodName;
use rustix::fs::{Mode, OFlags, open};
use stage1::plan::{DOCKERS_RULES, ENVIRONMENT, FILLED, GROUPS, IMAGE_CONTENT};
use stage1::supervise::Restart;

use super::container;
use super::image;
use super::label_option::{labels, labels_of_files};
use super::network::named_by;
use super::network_option::{names, network};
use super::noted_option::NotedArgs;
use super::protection_option::ProtectionArgs;
use super::variable_option::{last_of_each, variable_of_caller};
use super::volume_option::{self, Mounts};
use crate::annotations::{Remarks, TYPED_IMAGE};
use crate::context::Context;
use crate::environment::PodEnvironment;
use crate::error::{CommandError, Explain as _};
use crate::launch::{self, Launched, TERM};
use crate::pull_policy::PullPolicy;
use crate::request::{self, AppRequest, Lifecycle, PodRequest};
use crate::setup::Life;
use crate::userns::Userns;
use crate::uuid_file::UuidFile;
use crate::{devices, dry_run, output, prepare, relay, sealed};

/// Create and run a new container from an image
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Run container in background and print container ID
    #[arg(long, short)]
    detach: bool,

    /// Keep STDIN open even if not attached
    #[arg(long, short)]
    interactive: bool,

    /// Allocate a pseudo-TTY; with --interactive only if standard input is a terminal
    #[arg(long, short)]
    tty: bool,

    /// Automatically remove the container when it exits
    #[arg(long)]
    rm: bool,

    /// Set environment variables
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Bind mount a volume: [HOST_PATH|NAME:]PATH[:ro]
    #[arg(long, short, value_name = "VOLUME")]
    volume: Vec<String>,

    /// Attach a filesystem mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Mount an empty directory that lives as long as the container
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,

    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,

    /// Add additional groups to join: names of the image's /etc/group, or numbers
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// Working directory inside the container
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,

    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "PATH")]
    entrypoint: Option<String>,

    /// Container host name
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<String>,

    /// Connect the container to a network: bridge (the world; default), none, host, or one of network.d
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Option<String>,

    /// Publish a container's port to the host: [IP:]HOST:CONTAINER[/udp]
    #[arg(long, short, value_name = "PORT")]
    publish: Vec<String>,

    /// Set meta data on the container
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    label: Vec<String>,

    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    /// Add an annotation to the container
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,

    /// Suppress the pull output
    #[arg(long, short)]
    quiet: bool,

    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,

    /// Add a host device to the container: /dev/NAME[:/dev/NAME]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    noted: NotedArgs,

    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// Add a custom host-to-IP mapping: NAME:IP
    #[arg(long, value_name = "HOST")]
    add_host: Vec<String>,

    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,

    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,

    /// Restart policy to apply when the container exits: no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: String,

    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,

    /// Pull image before running
    #[arg(long, value_name = "POLICY", default_value = "missing")]
    pull: Pull,

    /// User namespace to use: keep-id makes the container's user you
    #[arg(long, value_name = "MODE")]
    userns: Option<Userns>,

    /// Run an init inside the container, which is always done
    #[arg(long)]
    init: bool,

    /// Print the reified pod manifest, and the whole command, instead of running the container
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Print usage
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    /// The image, and what it is to execute instead of its CMD
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pull {
    Always,
    Missing,
    Never,
}

pub(crate) fn run(context: &Context, args: RunArgs) -> Result<u8, CommandError> {
    let (dry_run, detach) = (args.dry_run, args.detach);
    let passes_input = args.interactive;
    let request = request(context, args)?;
    if dry_run {
        return dry_run::print(context, request);
    }
    sealed::ensure()?;
    if !passes_input && !detach {
        // Without -i a container reads nothing: the input is for whatever runs after docker.
        let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during(|| "/dev/null".into())?;
        rustix::stdio::dup2_stdin(null)?;
    }
    match launch::run(context, prepare::pod(context, request)?)? {
        Launched::Ended(status) => Ok(status),
        Launched::Detached(uuid) => output::write(&format!("{}\n", container::id(uuid))).map(|()| 0),
    }
}

/// What was typed as the pod that is meant.
pub(super) fn request(context: &Context, args: RunArgs) -> Result<PodRequest, CommandError> {
    let named = args.network.as_deref().map(|word| named_by(context, word)).transpose()?;
    let (mut net, ports) = network(named.as_deref(), &args.publish)?;
    names(&mut net.rest, &args.add_host, &args.dns, args.dns_search)?;
    args.noted.tell()?;
    let restarts = restart(&args.restart)?;
    if args.rm && restarts != Restart::No {
        return Err(CommandError::usage("Conflicting options: --restart and --rm"));
    }
    let cidfile = args.cidfile.map(std::path::absolute).transpose()?.map(UuidFile::Cid);
    cidfile.as_ref().map_or(Ok(()), UuidFile::check)?;
    let mut words = args.words.into_iter();
    let word = words.next().ok_or_else(|| CommandError::usage("which image?"))?;
    let (image, policy) = image(context, &word, args.pull, args.quiet)?;
    let mut pod = PodRequest {
        name: args.name.map(|name| free_name(context, &name)).transpose()?,
        pulling: policy.into(),
        follow_symlinks: true,
        userns: args.userns.unwrap_or_default(),
        all_net_admins: args.protection.adds_net_admin(),
        net: Some(net),
        isolators: args.protection.of_pod()?,
        ports,
        remarks: Remarks {
            user_labels: labels(&[labels_of_files(&args.label_file)?, args.label].concat()),
            user_annotations: labels(&args.annotation),
            ..Remarks::default()
        },
        ..PodRequest::default()
    };
    let given = args.env.iter().filter_map(|variable| variable_of_caller(variable)).collect::<Vec<_>>();
    pod.environment = PodEnvironment::gather_as_docker(&args.env_file, &last_of_each(given))?;
    let odd_variables = pod.environment.take_odd();
    let Mounts { mut mounts, filled, content } =
        volume_option::parse(context, &args.volume, &args.mount, &args.tmpfs, &mut pod.volumes)?;
    for device in devices::parse(&args.device)? {
        mounts.push(devices::mount(&device, &mut pod.volumes)?);
    }
    let input_is_terminal = std::io::stdin().is_terminal();
    let (detach, interactive) = (args.detach, args.interactive);
    // With -i and input from elsewhere there is no key to say where it ends: no terminal then.
    let tty = args.tty && (!interactive || detach || input_is_terminal);
    let keep = !args.rm;
    pod.lifecycle = Lifecycle {
        detach,
        interactive,
        attached: !detach && (tty || keep),
        terminal: tty.then(relay::size),
        term: Some(TERM),
        keep,
        restart: restarts,
        life: Some(Life { stdin: interactive, tty, remove: !keep, restart: args.restart }),
        hostname: args.hostname.map(request::hostname).transpose()?,
        host_is_named: true,
        uuid_file: cidfile,
        ..Lifecycle::default()
    };
    // Streams that are passed through need nobody to hold them.
    pod.lifecycle.interactive &= pod.lifecycle.attached || detach;
    let mut words = request::args(words.collect())?;
    let mut exec = args.entrypoint;
    if exec.as_ref().is_some_and(String::is_empty) {
        // It resets what the image has: the command is all there is.
        if words.is_empty() {
            return Err(CommandError::failed("no command specified"));
        }
        exec = Some(words.remove(0));
    }
    let (user, group) = split_user(args.user);
    let (gids, group_names): (Vec<String>, Vec<String>) =
        args.group_add.into_iter().partition(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
    let gids = (!gids.is_empty()).then(|| request::gids(&gids.join(","))).transpose()?;
    let mut remarks = Remarks::default();
    if let Some(typed) = word.to_str().filter(|_| matches!(image, ImageRef::Id(_))) {
        remarks.annotations.set(TYPED_IMAGE.parse().expect("a constant identifier"), typed.to_owned());
    }
    let mut annotate = |name: &str, value| remarks.annotations.set(name.parse().expect("a constant identifier"), value);
    annotate(DOCKERS_RULES, "true".to_owned());
    let lists = [(FILLED, filled), (IMAGE_CONTENT, content), (GROUPS, group_names), (ENVIRONMENT, odd_variables)];
    for (name, list) in lists {
        if !list.is_empty() {
            annotate(name, serde_json::Value::from(list).to_string());
        }
    }
    if let Some(signal) = args.stop_signal {
        crate::signal_argument::parse(&signal)?;
        remarks.annotations.set(oci::STOP_SIGNAL.parse().expect("names of annotations are identifiers"), signal);
    }
    pod.apps = vec![AppRequest {
        exec,
        args: (!words.is_empty()).then_some(words),
        user,
        group,
        supplementary_gids: gids,
        working_directory: args.workdir.map(request::working_directory).transpose()?,
        read_only_root: args.read_only,
        mounts,
        isolators: args.protection.of_app()?,
        seccomp_profile: args.protection.seccomp_profile()?,
        remarks,
        ..AppRequest::of(image)
    }];
    Ok(pod)
}

/// A name that no container has. Somebody may take it meanwhile, and is told then in proa's words.
fn free_name(context: &Context, name: &str) -> Result<PodName, CommandError> {
    let parsed: PodName = name.parse().map_err(|error| CommandError::usage(format!("--name: {error}")))?;
    let holder = context.pods()?.find(name).ok();
    match holder.filter(|entry| entry.name.as_ref() == Some(&parsed)) {
        Some(entry) => Err(container::conflict(&parsed, entry.uuid)),
        None => Ok(parsed),
    }
}

/// A policy as docker has it.
pub(super) fn restart(text: &str) -> Result<Restart, CommandError> {
    request::restart(if text == "unless-stopped" { "always" } else { text })
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

/// `USER[:GROUP]`.
pub(super) fn split_user(user: Option<String>) -> (Option<String>, Option<String>) {
    let Some(text) = user else { return (None, None) };
    match text.split_once(':') {
        Some((user, group)) => (Some(user).filter(|user| !user.is_empty()).map(str::to_owned), Some(group.to_owned())),
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
    }
}
