//! `proa app add`: creates an app in a running pod.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use appc::{AcName, ImageManifest, Mount, PodManifest, RuntimeApp, Volume};
use clap::Args;
use stage1::protocol::{Call, Reply, StdioKind};
use stage1::run::AppStdio;
use store::Tree;

use crate::client::Client;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::environment::PodEnvironment;
use crate::error::CommandError;
use crate::import::Images;
use crate::manifest::{self, AppImage, ReifyError, WantedApp};
use crate::pull_policy::{PullArgs, PullPolicy};
use crate::request::AppRequest;
use crate::userns::{self, Rooted, Userns};
use crate::{
    app_streams, cgroup, forward, guest_agent, launch, output, pod_argument, pod_line, protection, request, skeleton,
    sources,
};

/// Create an app of an image in a running pod
///
/// The pod must have been made by `proa app sandbox`. The app is started by `proa app start`. What stands after the
/// image is as with `proa run`. Prints the app's name.
#[derive(Debug, Args)]
#[command(
    override_usage = "proa [GLOBAL OPTIONS] app add POD IMAGE [APP OPTIONS] [-- ARGS...]",
    after_help = "Examples:\n  proa app add box example.com/redis\n  proa app add box example.com/redis --name cache -- --port 7000\n  proa app add --guest-agent box example.com/redis --name shell"
)]
pub(crate) struct AddArgs {
    /// Mount a volume: name=NAME,kind=host|empty[,source=PATH],target=PATH
    #[arg(long, value_name = "MOUNT")]
    mnt_volume: Vec<String>,

    /// Give the app, or not, ContainerSSH's agent at /usr/bin/containerssh-agent [default: if its image asks for it by
    /// the annotation or label proa.local/guest-agent=true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    guest_agent: Option<bool>,

    #[command(flatten)]
    pull: PullArgs,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,

    /// The image with its options
    #[arg(value_name = "IMAGE", required = true, num_args = 1.., trailing_var_arg = true)]
    image: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: AddArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let pod = pods.open(&entry)?.manifest()?;
    manifest::check_count(pod.apps.len() + 1)?;
    let userns = Userns::of(&pod)?;
    let mut volumes = pod.volumes.clone();
    let (words, more) = take_mounts(args.image)?;
    let mounts = declare(args.mnt_volume.iter().chain(&more), &mut volumes)?;
    let apps = pod_line::apps("app add", words, &mounts, &mut volumes)?;
    let [app] = <[AppRequest; 1]>::try_from(apps).map_err(|_| CommandError::usage("must give only one app"))?;
    let mut images = Images::open(context, args.pull.pulling(PullPolicy::New)?)?;
    images.map_ids(userns)?;
    let record = images.resolve(&app.image, app.signature.as_deref())?;
    let trees = images.trees(&record)?;
    let names = trees.iter().map(|tree| tree.layer().to_string()).collect();
    let (dirs, mut guards): (Vec<OwnedFd>, Vec<OwnedFd>) = trees.into_iter().map(Tree::into_parts).unzip();
    let mut layers = [dirs];
    if userns != Userns::KeepId {
        skeleton::put_under(&mut layers, context.data_dir()?, &images.mapping);
    }
    let [mut dirs] = layers;
    let image_manifest = String::from_utf8(record.manifest.to_json()?).ok();
    forget_left_behind(&mut volumes, &pod.apps, &record.manifest, &app.mounts);
    let wanted = WantedApp::Asked(Box::new(app));
    let image = AppImage { wanted, id: record.id, manifest: record.manifest.clone() };
    let blank = PodManifest { volumes, annotations: pod.annotations, ..PodManifest::blank() };
    let reified = manifest::reify(blank, &PodEnvironment::default(), vec![image]).map_err(explain)?;
    reified.odd_stop_signals().for_each(|odd| warn(&odd));
    let mut manifest = reified.manifest;
    keep_used_volumes(&mut manifest);
    forward::check_activated(&manifest)?;
    guest_agent::give(&mut manifest, &[&record.manifest], args.guest_agent, context.data_dir()?)?;
    if let (Userns::KeepId, Some(app)) = (userns, manifest.apps.first_mut()) {
        guards.extend(userns::keep_id(&mut images, Rooted { app, image: &record, layers: &mut dirs })?);
    }
    let controllers =
        cgroup::of_pod(&pods, &entry).map_or_else(|_| Vec::new(), |(group, _)| group.controllers().to_vec());
    protection::tell(&manifest, &controllers, &protection::network_is_there())?;
    if !reified.implicit_volumes.is_empty() {
        let volumes = reified.implicit_volumes.join(", ");
        warn(&format!("no volume for these mount points, each gets an empty one: {volumes}"));
    }
    let sources = sources::open(&manifest.volumes, context.data_dir()?)?;
    let fds: Vec<BorrowedFd<'_>> = dirs.iter().chain(sources.iter().flatten()).map(|fd| fd.as_fd()).collect();
    let stdio = streams(&mut manifest)?;
    let text = String::from_utf8(manifest.to_json()?).map_err(|_| CommandError::failed("the manifest is not UTF-8"))?;
    let layers = dirs.len();
    let call = Call::Add { manifest: text, image: image_manifest, layers, trees: names, stdio, remarks: true };
    ask(Client::connect(&pods, &entry)?, call, &fds)?;
    drop(guards);
    let name = manifest.apps.first().map_or_else(String::new, |app| app.name.to_string());
    output::write(&format!("{name}\n"))?;
    Ok(0)
}

/// Where the app's streams go.
fn streams(manifest: &mut PodManifest) -> Result<StdioKind, CommandError> {
    if app_streams::has_terminal(manifest) {
        launch::name_terminal(manifest, None);
    }
    let usual = StdioKind::default();
    let of_app = manifest.apps.first().map(|app| app_streams::of_app(app, AppStdio::Kept(usual))).transpose()?;
    Ok(match of_app {
        Some(AppStdio::Kept(stdio)) => stdio,
        _ => usual,
    })
}

/// Has the supervisor add the app, and tells what it has to say of that.
fn ask(mut client: Client, call: Call, fds: &[BorrowedFd<'_>]) -> Result<(), CommandError> {
    let (mut reply, _) = client.ask(call, fds)?;
    while let Reply::Remark(text) = reply {
        warn(&text);
        (reply, _) = client.hear()?.ok_or_else(|| client.gone())?;
    }
    Ok(())
}

/// Volumes of a pod that runs are declared where they are mounted.
fn explain(error: ReifyError) -> CommandError {
    match error {
        ReifyError::NoVolume { .. } => CommandError::from(error)
            .hint("declare and mount it: --mnt-volume=name=NAME,kind=host,source=/PATH,target=/PATH"),
        _ => error.into(),
    }
}

/// Takes the options of this command out of the image's words, up to the app's arguments.
fn take_mounts(words: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>), CommandError> {
    let (mut rest, mut mounts) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word);
            rest.extend(words.by_ref());
        } else if word == "--mnt-volume" {
            let value = words.next().ok_or_else(|| CommandError::usage("--mnt-volume: a value is missing"))?;
            mounts.extend(request::args(vec![value])?);
        } else if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--mnt-volume=")) {
            mounts.push(value.to_owned());
        } else {
            rest.push(word);
        }
    }
    Ok((rest, mounts))
}

/// Adds volumes to those of the pod, and gives their mounts. One that the pod has must be the same.
fn declare<'a>(texts: impl Iterator<Item = &'a String>, volumes: &mut Vec<Volume>) -> Result<Vec<Mount>, CommandError> {
    let mut mounts = Vec::new();
    for text in texts {
        let (volume, mount) = mnt_volume(text)?;
        match volumes.iter().find(|known| known.name == volume.name) {
            Some(known) if *known != volume => return Err(another_volume(&volume)),
            Some(_) => {}
            None => volumes.push(volume),
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

/// rkt's way to declare a volume and mount it at once: a volume whose parameters hold its name and a target.
fn mnt_volume(text: &str) -> Result<(Volume, Mount), CommandError> {
    let refused = |why: &str| {
        CommandError::usage(format!("--mnt-volume={text:?}: {why}"))
            .hint("write it as name=NAME,kind=host,source=/PATH,target=/PATH or name=NAME,kind=empty,target=/PATH")
    };
    let (mut name, mut target, mut rest) = (None, None, String::new());
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("name", value)) if name.is_none() => name = Some(value),
            Some(("target", value)) if target.is_none() && !value.is_empty() => target = Some(value),
            Some(("name" | "target", _)) => return Err(refused("name and target must be given once")),
            _ => rest += &format!(",{part}"),
        }
    }
    let (Some(name), Some(target)) = (name, target) else { return Err(refused("name and target must be given")) };
    let volume: Result<Volume, _> = format!("{name}{rest}").parse();
    let volume = volume.map_err(|error| refused(&error.to_string()))?;
    let path = format!("/{}", target.trim_start_matches('/'));
    Ok((volume.clone(), Mount { volume: volume.name, path, ..Mount::default() }))
}

fn another_volume(volume: &Volume) -> CommandError {
    let name = volume.name.as_str();
    CommandError::failed(format!("duplicate volume name {name:?}"))
        .hint(format!("the pod has another volume of that name: `--mount volume={name},target=PATH` mounts it"))
}

/// Leaves out the empty volumes that mount points of apps got which are gone: the next app of that name gets them again.
fn forget_left_behind(volumes: &mut Vec<Volume>, apps: &[RuntimeApp], image: &ImageManifest, wanted: &[Mount]) {
    let points = image.app.iter().flat_map(|app| &app.mount_points).map(|point| &point.name);
    let mounts = apps.iter().flat_map(|app| &app.mounts).chain(wanted).map(|mount| &mount.volume);
    let named: BTreeSet<&AcName> = points.chain(mounts).collect();
    volumes.retain(|volume| named.contains(&volume.name) || *volume != Volume::empty(volume.name.clone()));
}

/// Leaves the pod's volumes that this app does not mount to the others.
fn keep_used_volumes(manifest: &mut PodManifest) {
    let apps = std::mem::take(&mut manifest.apps);
    let mounted = |volume: &Volume| {
        apps.iter().any(|app| {
            let points = app.app.iter().flat_map(|app| &app.mount_points);
            app.mounts.iter().any(|mount| mount.volume == volume.name)
                || points.into_iter().any(|p| p.name == volume.name)
        })
    };
    manifest.volumes.retain(mounted);
    manifest.apps = apps;
}
