//! The pod of the `hello` image: two apps and the volume they share.

use appc::{AcName, App, Hash, ImageId, Mount, PodManifest, RuntimeApp, RuntimeImage, Volume, VolumeKind};

use super::image::{self, NAME, PROGRAM, USER_ID};
use super::{GREETER, RESPONDER};

/// The volume's name in the manifest.
const VOLUME: &str = "shared";

/// Where the greeter has the volume.
const GREETER_PATH: &str = "/data";

/// Where the responder has it. The paths differ to show that only the content is shared.
const RESPONDER_PATH: &str = "/mnt/shared";

/// The reified manifest of the pod: the greeter, as root, and the responder, as an ordinary user, both from the image
/// with this ID. The responder stands first, so that the greeter finds it listening.
pub(crate) fn pod_manifest(image: ImageId) -> PodManifest {
    let id = Hash::from(image);
    let apps = vec![app(RESPONDER, USER_ID, RESPONDER_PATH, id.clone()), app(GREETER, "0", GREETER_PATH, id)];
    // Both users write to it; the sticky bit keeps their hands off each other's files, as in /tmp.
    let kind = VolumeKind::Empty { mode: "1777".to_owned(), uid: 0, gid: 0 };
    let volumes = vec![Volume { name: name(VOLUME), kind, read_only: None }];
    PodManifest { apps, volumes, ..PodManifest::blank() }
}

fn app(role: &str, user: &str, path: &str, id: Hash) -> RuntimeApp {
    let labels = image::manifest().labels;
    RuntimeApp {
        name: name(role),
        image: RuntimeImage { name: Some(image::identifier(NAME)), id: Some(id), labels },
        app: Some(App {
            exec: vec![PROGRAM.to_owned(), role.to_owned(), path.to_owned()],
            user: user.to_owned(),
            group: user.to_owned(),
            ..image::app()
        }),
        mounts: vec![Mount { volume: name(VOLUME), path: path.to_owned(), app_volume: None }],
        ..RuntimeApp::default()
    }
}

fn name(text: &str) -> AcName {
    text.parse().expect("the names in this module are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_reified_and_reads_back() {
        let manifest = pod_manifest(ImageId::sha512([7; 64]));
        let bytes = manifest.to_json().unwrap();
        assert_eq!(PodManifest::from_json(&bytes).unwrap(), manifest);
        for app in &manifest.apps {
            assert!(app.image.id.is_some());
            let volume = manifest.volume(&app.mounts[0].volume).unwrap();
            assert!(matches!(&volume.kind, VolumeKind::Empty { mode, .. } if mode == "1777"));
            assert_eq!(app.app.as_ref().unwrap().exec[2], app.mounts[0].path, "the app is told where its volume is");
        }
        assert_ne!(manifest.apps[0].mounts[0].path, manifest.apps[1].mounts[0].path);
    }
}
