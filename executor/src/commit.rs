//! A new image of what an app has made of its root file system.
//!
//! It has one layer, which holds what the app sees but for volumes: nothing that was removed is left in it. Its
//! configuration is that of the app's image with the app's environment, or all of how the app is run, and with the changes that
//! were asked for.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use appc::{ImageId, Mount, PodManifest, RuntimeApp, VolumeKind};
use fetch::oci;
use fetch::registry::RegistryRef;
use fetch::{LayerBytes, LayerMediaType, OciConfig, OciImage, OciLayer};
use pod::{PodEntry, Pods};
use serde_json::{Value, json};
use stage1::plan::ENVIRONMENT;
use stage1::plan::tmpfs;
use store::flatten::{FlattenError, Wrapping, flatten};
use store::{Algorithm, BlobRole, Digest, ImageKind, ImageRecord};

use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::import::Images;
use crate::instruction::apply;
use crate::layer_writer::{LayerWriter, Packing, Written};
use crate::manifest::HOST_ARCH;
use crate::oci_form::{LayerFile, manifest_of};
use crate::pull_policy::PullPolicy;
use crate::{app_argument, idmap, images, moment, ports, userns};

/// What is different from the app's image, and said of the new one.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Who made it.
    pub(crate) author: String,
    /// What for.
    pub(crate) message: String,
    /// Instructions of a Dockerfile.
    pub(crate) instructions: Vec<String>,
    /// Whether it is to be run as the app is, rather than as the app's image: docker has it so.
    pub(crate) as_run: bool,
}

/// Stores an image of the app, or of the only one, under a name if one is given. The app may run; what it writes
/// meanwhile may be in the image or not.
///
/// # Errors
///
/// There is no such app, its image is not stored any more, or the new one cannot be.
pub(crate) fn commit(
    context: &Context,
    pods: &Pods,
    entry: &PodEntry,
    app: Option<&str>,
    name: Option<&RegistryRef>,
    changes: &Changes,
) -> Result<ImageId, CommandError> {
    let pod = pods.open(entry)?;
    let manifest = pod.manifest()?;
    let runtime = app_argument::find(&manifest.apps, |app| app.name.as_str(), app)?;
    let mut images = Images::open(context, PullPolicy::Never)?;
    let gone = || CommandError::failed(format!("the image of app {} is not stored any more", runtime.name));
    let id = runtime.image.id.as_ref().and_then(|id| id.to_string().parse().ok());
    let record = id.and_then(|id: ImageId| images.store.record(&id).transpose()).transpose()?.ok_or_else(gone)?;
    let (scratch, written) = flattened(&mut images, runtime, &record, pod.upper(&runtime.name)?)?;
    let config = configuration(&images, &record, runtime, &manifest, written.diff_id, changes)?;
    Ok(store_layer(&images, scratch, written, config, name)?.id)
}

/// Stores an image of one layer, under a name if one is given.
///
/// # Errors
///
/// The configuration makes no image; the store cannot be written.
pub(crate) fn store_layer(
    images: &Images,
    scratch: File,
    written: Written,
    config: Vec<u8>,
    name: Option<&RegistryRef>,
) -> Result<ImageRecord, CommandError> {
    let media_type = Packing::Plain.media_type().to_owned();
    let layer = LayerFile {
        file: Rc::new(scratch.try_clone()?),
        digest: written.digest,
        size: written.size,
        media_type,
        diff_id: written.diff_id,
    };
    let manifest = manifest_of(&config, &[layer], None)?;
    let as_fetch = |digest: Digest| -> fetch::Digest {
        digest.to_string().parse().expect("both crates write digests the same way")
    };
    let image = OciImage {
        name: name.map(RegistryRef::name).unwrap_or_default(),
        tag: name.and_then(RegistryRef::tag).map(str::to_owned),
        manifest_digest: as_fetch(Digest::of(Algorithm::Sha256, &manifest)),
        manifest,
        config_digest: as_fetch(Digest::of(Algorithm::Sha256, &config)),
        diff_ids: vec![as_fetch(written.diff_id)],
        layers: vec![OciLayer {
            digest: as_fetch(written.digest),
            media_type: LayerMediaType::Tar,
            size: written.size,
            bytes: LayerBytes::File { file: scratch, start: 0 },
            contents: None,
        }],
        os: "linux".to_owned(),
        architecture: text(&serde_json::from_slice(&config)?, "architecture"),
        config_section: section(&config)?,
        config,
    };
    images.store_committed(&image, name.is_some())
}

/// What the app sees of its root file system, as a layer in a file without a name.
fn flattened(
    images: &mut Images,
    runtime: &RuntimeApp,
    record: &ImageRecord,
    upper: OwnedFd,
) -> Result<(File, Written), CommandError> {
    let mapping = userns::keep_id_of(runtime)?.and_then(|keep| keep.tree_mapping(&images.mapping));
    let mapping = mapping.unwrap_or_else(|| images.mapping.clone());
    images.under(mapping, |images| {
        // The guards keep the trees until they are read.
        let (stack, _guards) = images.stack_with(images.trees(record)?, Some(upper))?;
        let scratch = images.store.scratch()?;
        let out = scratch.try_clone()?;
        let written = idmap::run_in(&images.mapping, || -> Result<Written, FlattenError> {
            let failed = |error: io::Error| FlattenError::Write(error.into());
            let mut out = LayerWriter::new(out, Packing::Plain).map_err(failed)?;
            flatten(&stack, Wrapping::Layer, &mut out)?;
            out.finish().map_err(failed)
        })??;
        Ok((scratch, written))
    })
}

/// The new configuration.
fn configuration(
    images: &Images,
    record: &ImageRecord,
    runtime: &RuntimeApp,
    manifest: &PodManifest,
    diff_id: Digest,
    changes: &Changes,
) -> Result<Vec<u8>, CommandError> {
    let mut config: Value = match record.kind {
        ImageKind::Oci => serde_json::from_slice(&images::document(&images.store, record, BlobRole::Config)?)?,
        ImageKind::Aci => {
            let diff_id = diff_id.to_string().parse().expect("both crates write digests the same way");
            serde_json::from_slice(&fetch::oci::from_app(&record.manifest, &[diff_id])?.config)?
        }
    };
    describe(&mut config, diff_id, "proa commit", changes)?;
    let section = &mut config["config"];
    if let Some(app) = &runtime.app {
        // The host's name is that of the container, not of the image.
        let own = app.environment.iter().filter(|variable| variable.name != "HOSTNAME");
        let set = own.map(|variable| format!("{}={}", variable.name, variable.value));
        // And those that an appc manifest has no place for.
        let odd = runtime.annotations.get(ENVIRONMENT).and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
        section["Env"] = set.chain(odd.unwrap_or_default()).collect::<Vec<_>>().into();
    }
    if changes.as_run {
        as_run(section, runtime, manifest);
    }
    changes.instructions.iter().try_for_each(|instruction| apply(section, instruction))?;
    Ok(serde_json::to_vec(&config)?)
}

/// Has a container of the image run as this app does, with its labels and those of its pod.
fn as_run(section: &mut Value, runtime: &RuntimeApp, manifest: &PodManifest) {
    let Some(app) = &runtime.app else { return };
    let words = |section: &Value, name: &str| -> Vec<String> {
        serde_json::from_value(section[name].clone()).unwrap_or_default()
    };
    let entrypoint = words(section, "Entrypoint");
    match (app.exec.strip_prefix(entrypoint.as_slice()), app.exec.split_first()) {
        (Some(rest), _) => section["Cmd"] = rest.into(),
        (None, Some((program, rest))) => {
            section["Entrypoint"] = json!([program]);
            section["Cmd"] = rest.into();
        }
        (None, None) => {}
    }
    let user = runtime.annotations.get(oci::USER).map_or_else(|| format!("{}:{}", app.user, app.group), str::to_owned);
    // Where an image says nothing that is who it is.
    if user != "0:0" || !text(section, "User").is_empty() {
        section["User"] = user.into();
    }
    for port in &app.ports {
        section["ExposedPorts"][ports::exposed(port)] = json!({});
    }
    let in_memory = tmpfs::of(runtime).unwrap_or_default();
    let is_own = |mount: &&Mount| {
        let volume = manifest.volume(&mount.volume);
        volume.is_some_and(|volume| matches!(volume.kind, VolumeKind::Empty { .. }))
            && !in_memory.contains_key(&mount.path)
    };
    for mount in runtime.mounts.iter().filter(is_own) {
        section["Volumes"][&mount.path] = json!({});
    }
    section["WorkingDir"] = app.working_directory.clone().unwrap_or_default().into();
    for (name, value) in app.user_labels.iter().chain(&manifest.user_labels) {
        section["Labels"][name] = value.as_str().into();
    }
    if let Some(signal) = runtime.annotations.get(oci::STOP_SIGNAL) {
        section["StopSignal"] = signal.into();
    }
    if let Some(check) = runtime.annotations.get(oci::HEALTHCHECK).and_then(|json| serde_json::from_str(json).ok()) {
        section["Healthcheck"] = check;
    }
}

/// The configuration of an image of which nothing is known but its layer.
///
/// # Errors
///
/// An instruction makes no sense.
pub(crate) fn bare_configuration(diff_id: Digest, changes: &Changes) -> Result<Vec<u8>, CommandError> {
    let mut config = json!({ "architecture": HOST_ARCH, "os": "linux" });
    describe(&mut config, diff_id, "", changes)?;
    changes.instructions.iter().try_for_each(|instruction| apply(&mut config["config"], instruction))?;
    Ok(serde_json::to_vec(&config)?)
}

/// Says of what the image is made, when, by which command, by whom and what for.
fn describe(config: &mut Value, diff_id: Digest, by: &str, changes: &Changes) -> Result<(), CommandError> {
    let epoch = moment::source_date_epoch()?.map(|seconds| seconds.saturating_mul(1_000_000_000));
    let now = moment::rfc3339(epoch.unwrap_or_else(moment::now));
    let whole = config.as_object_mut().ok_or_else(|| CommandError::failed("the image's configuration is no object"))?;
    whole.insert("created".into(), now.clone().into());
    whole.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": [diff_id.to_string()] }));
    let mut history = json!({ "created": now, "created_by": by });
    if !changes.author.is_empty() {
        whole.insert("author".into(), changes.author.clone().into());
        history["author"] = changes.author.clone().into();
    }
    if !changes.message.is_empty() {
        history["comment"] = changes.message.clone().into();
    }
    whole.insert("history".into(), json!([history]));
    whole.entry("config").or_insert_with(|| json!({}));
    Ok(())
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// The same section as it is understood when an image is taken in.
fn section(config: &[u8]) -> Result<OciConfig, CommandError> {
    let config: Value = serde_json::from_slice(config).during(|| "configuration".into())?;
    let section = &config["config"];
    let list = |name: &str| -> Vec<String> {
        let words = section[name].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let keys = |name: &str| -> Vec<String> {
        section[name].as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default()
    };
    let labels = section["Labels"].as_object().into_iter().flatten();
    Ok(OciConfig {
        entrypoint: list("Entrypoint"),
        cmd: list("Cmd"),
        env: list("Env"),
        user: text(section, "User"),
        working_dir: text(section, "WorkingDir"),
        volumes: keys("Volumes"),
        exposed_ports: keys("ExposedPorts"),
        stop_signal: section["StopSignal"].as_str().map(str::to_owned),
        healthcheck: section.get("Healthcheck").filter(|check| !check.is_null()).map(Value::to_string),
        labels: labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
    })
}
