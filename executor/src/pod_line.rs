//! What the commands that make a pod have in common: the options of the pod, and the images with theirs.

mod apps;
mod misplaced;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command};

use crate::annotations::Remarks;
use crate::app_isolators;
use crate::environment::PodEnvironment;
use crate::error::CommandError;
use crate::net::NetArgs;
use crate::pull_policy::{PullArgs, PullPolicy};
use crate::request::{self, Lifecycle, PodRequest};
use crate::userns::Userns;
use crate::uuid_file::UuidFile;
use crate::{devices, protection, template};

use apps::app_command;

pub(crate) use apps::apps;
pub(crate) use misplaced::{misplaced_before, unknown_option};

// What belongs to a pod as a whole, whether it has apps or not. (A doc comment would become the help text of the whole
// command; so with those below.)
#[derive(Debug, Args)]
pub(crate) struct PodOptions {
    /// Give the pod a unique name; this is its host name too
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    net: NetArgs,

    /// Declare a volume: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL] or
    /// NAME,kind=empty[,mode=MODE][,uid=UID][,gid=GID]
    ///
    /// It is mounted where an image has a mount point of its name, and where --mount says.
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,

    /// Follow symbolic links in the sources of volumes, which are refused else
    #[arg(long)]
    follow_symlinks: bool,

    /// Map the pod's ids: auto (container root is you, the rest a range of yours), keep-id (each app's user is you),
    /// single (there is one id, yours)
    #[arg(long, value_name = "MAP", default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    userns: Userns,

    /// Set a kernel parameter of the pod's own namespaces: net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,

    /// Let so many bytes a second pass between the pod and the world at most, in each direction
    #[arg(long, value_name = "BYTES")]
    network_bandwidth: Option<String>,

    /// Protect the apps as ever (default), or give them fewer capabilities and no way to gain any (strict)
    #[arg(long, value_name = "PROFILE", default_value = "default", hide_default_value = true)]
    profile: protection::Profile,

    /// Have Landlock guard the apps' files (default), or also what they listen on, signal and connect to (strict)
    #[arg(long, value_name = "RIGHTS", default_value = "default", hide_default_value = true)]
    landlock: protection::Landlock,

    /// Let an app (or its pre-start handler alone) change the pod's network: addresses, routes, interfaces
    #[arg(long, value_name = "APP[:pre-start]")]
    net_admin: Vec<String>,

    /// Annotate the pod
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,

    /// Annotate the pod for whoever runs it; any name will do
    #[arg(long, value_name = "NAME=VALUE")]
    user_annotation: Vec<String>,

    /// Label the pod for whoever runs it
    #[arg(long, value_name = "NAME=VALUE")]
    user_label: Vec<String>,
}

// How a pod is started.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Print the pod's UUID when its apps run, and leave it to a supervisor of its own
    ///
    /// The apps' output goes to logs (`proa logs`). The pod is kept after it has ended, unless --rm is given.
    #[arg(long)]
    detach: bool,

    /// Set the host name [default: the pod's name, or proa-UUID]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// Write the pod's UUID to FILE before its apps are started, and keep the pod after it has ended
    #[arg(long, value_name = "FILE")]
    uuid_file_save: Option<PathBuf>,
}

// How a pod with apps lives and ends.
#[derive(Debug, Args)]
pub(crate) struct LifeArgs {
    #[command(flatten)]
    start: StartArgs,

    /// Give the app a terminal if this is one, else standard input until its end; for a pod of one app
    #[arg(long, conflicts_with = "detach")]
    interactive: bool,

    /// Start apps again that have ended: no, on-failure, on-failure:N, always
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true)]
    restart: String,

    /// End the pod when an app fails or all have ended (failure), when one has ended (any), when all have (all), or
    /// only when it is stopped (never)
    #[arg(long, value_name = "POLICY", default_value = "failure", hide_default_value = true)]
    exit_policy: String,
}

// What a pod consists of: its options, and images with theirs.
#[derive(Debug, Args)]
pub(crate) struct PodArgs {
    #[command(flatten)]
    options: PodOptions,

    #[command(flatten)]
    pull: PullArgs,

    /// Run the apps of a pod manifest, in JSON or YAML (.yaml, .yml), instead of images
    #[arg(long, value_name = "FILE")]
    pod_manifest: Option<PathBuf>,

    /// Mount a volume in every app: volume=NAME,target=PATH
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Give every app a device of the host that you may open: /dev/NAME[:/dev/NAME]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    /// Set an environment variable in every app; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    set_env: Vec<String>,

    /// Set the variables of a file in every app: NAME=VALUE or NAME a line, # begins a comment
    #[arg(long, value_name = "FILE")]
    set_env_file: Vec<PathBuf>,

    /// Give every app your environment, where its image does not say otherwise
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    inherit_env: Option<bool>,

    /// Give every app, or none, ContainerSSH's agent at /usr/bin/containerssh-agent [default: those whose images ask
    /// for it by the annotation or label proa.local/guest-agent=true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    guest_agent: Option<bool>,

    /// Refuse what would be narrowed, ignored or made up: isolators, mount points without a volume
    #[arg(long)]
    strict: bool,

    /// Each image with its options: `hello`, docker://NAME, FILE.aci, oci:DIR[:REF], or the ID or name of a stored image
    ///
    /// Options after an image are that image's. The words after `--` are appended to the command of an ACI and replace
    /// the CMD of an OCI image; `---` ends them.
    #[arg(
        value_name = "IMAGE",
        required_unless_present = "pod_manifest",
        num_args = 1..,
        trailing_var_arg = true
    )]
    images: Vec<OsString>,
}

/// rkt's text for options that a pod manifest leaves no room for.
const CONFLICT: &str = "conflicting flags set with --pod-manifest (see --help)";

/// Adds the options that stand after an image to the help text of a command.
pub(crate) fn explain(command: Command, examples: &str) -> Command {
    let apps = app_command().disable_help_flag(true).help_template("{all-args}").render_long_help();
    command.after_long_help(format!("{apps}\n\n{examples}"))
}

impl StartArgs {
    /// What they mean: a pod that is detached, or whose UUID somebody wants, is kept.
    ///
    /// # Errors
    ///
    /// The host name is none.
    pub(crate) fn lifecycle(self) -> Result<Lifecycle, CommandError> {
        Ok(Lifecycle {
            detach: self.detach,
            keep: self.detach || self.uuid_file_save.is_some(),
            hostname: self.hostname.map(request::hostname).transpose()?,
            // A detached pod is in another directory.
            uuid_file: self.uuid_file_save.map(std::path::absolute).transpose()?.map(UuidFile::Uuid),
            ..Lifecycle::default()
        })
    }
}

impl LifeArgs {
    /// What they mean.
    ///
    /// # Errors
    ///
    /// An unknown policy; as [`StartArgs::lifecycle`].
    pub(crate) fn lifecycle(self) -> Result<Lifecycle, CommandError> {
        let restart = request::restart(&self.restart)?;
        let exit_policy = request::exit_policy(&self.exit_policy)?;
        let interactive = self.interactive;
        Ok(Lifecycle { restart, exit_policy, interactive, ..self.start.lifecycle()? })
    }
}

impl PodOptions {
    /// What was typed as what it means, for a pod without apps.
    ///
    /// # Errors
    ///
    /// It makes no sense.
    pub(crate) fn request(self, lifecycle: Lifecycle) -> Result<PodRequest, CommandError> {
        let (net, ports) = if self.net.is_bare() {
            (None, Vec::new())
        } else {
            let (net, ports) = self.net.request()?;
            (Some(net), ports)
        };
        let mut isolators = protection::sysctls(&self.sysctl)?;
        if let Some(text) = &self.network_bandwidth {
            isolators.extend(app_isolators::network_bandwidth(text)?);
        }
        let name = self.name.map(|name| name.parse().map_err(|e| CommandError::usage(format!("--name: {e}"))));
        Ok(PodRequest {
            name: name.transpose()?,
            lifecycle,
            volumes: request::volumes(&self.volume)?,
            follow_symlinks: self.follow_symlinks,
            userns: self.userns,
            net,
            ports,
            isolators,
            profile: self.profile,
            landlock: self.landlock,
            net_admin: protection::net_admin(&self.net_admin)?,
            remarks: Remarks::parse(&self.annotation, &self.user_annotation, &self.user_label)?,
            ..PodRequest::default()
        })
    }
}

/// What was typed as what it means, for a pod that lives like this. `command` is the subcommand, for its help.
///
/// # Errors
///
/// It makes no sense, or a file it names cannot be read.
pub(crate) fn request(command: &str, args: PodArgs, lifecycle: Lifecycle) -> Result<PodRequest, CommandError> {
    if let Some(word) = args.images.first().and_then(|word| word.to_str()).filter(|word| args.options.net.misses(word))
    {
        let why = format!("--net {word}: the word stands where an image belongs");
        return Err(CommandError::usage(why).hint(format!("write --net={word}")));
    }
    let mut pod = args.options.request(lifecycle)?;
    pod.pulling = args.pull.pulling(PullPolicy::New)?;
    pod.strict = args.strict;
    pod.guest_agent = args.guest_agent;
    pod.environment = PodEnvironment::gather(args.inherit_env.unwrap_or_default(), &args.set_env_file, &args.set_env)?;
    let mut everywhere = request::mounts(&args.mount)?;
    for device in devices::parse(&args.device)? {
        everywhere.push(devices::mount(&device, &mut pod.volumes)?);
    }
    if let Some(file) = args.pod_manifest {
        let conflicts = !args.images.is_empty() || !pod.volumes.is_empty() || !everywhere.is_empty();
        let env = args.inherit_env == Some(true) || !pod.environment.is_empty();
        if conflicts || env || args.pull.is_given() || !pod.remarks.is_empty() || !pod.isolators.is_empty() {
            return Err(CommandError::usage(CONFLICT).hint("write into the manifest what is different"));
        }
        pod.template = Some(template::read(file)?);
    }
    pod.apps = apps(command, args.images, &everywhere, &mut pod.volumes)?;
    Ok(pod)
}
