//! Which volume goes where: what was asked for, what the image has mount points for, and volumes that nobody named.

use std::collections::BTreeSet;

use appc::{AcName, App, Mount, MountPoint, Volume, VolumeKind};

use super::ReifyError;

/// The volumes of a pod to be.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    all: Vec<Volume>,
    /// Names of those that some app mounts.
    used: BTreeSet<AcName>,
}

/// What an app gets mounted.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    /// Paths of mounts whose volume begins with what the image has there.
    pub(super) image_content: Vec<String>,
    /// Those of them that lie in another volume, so that it takes a copy.
    pub(super) filled: Vec<String>,
    /// `APP-MOUNTPOINT (/path)` of each empty volume that nobody asked for and that hides what the image has.
    pub(super) implicit: Vec<String>,
}

impl Volumes {
    /// The volumes that were declared.
    ///
    /// # Errors
    ///
    /// Two of one name; a mode that is none.
    pub(super) fn declared(volumes: Vec<Volume>) -> Result<Self, ReifyError> {
        let mut names = BTreeSet::new();
        for volume in &volumes {
            if !names.insert(&volume.name) {
                return Err(ReifyError::DuplicateVolume(volume.name.clone()));
            }
            if let VolumeKind::Empty { mode, .. } = &volume.kind
                && u32::from_str_radix(mode, 8).map_or(true, |mode| mode > 0o7777)
            {
                return Err(ReifyError::BadMode { volume: volume.name.clone(), mode: mode.clone() });
            }
        }
        Ok(Self { all: volumes, used: BTreeSet::new() })
    }

    /// All of them, and the names of those that no app mounts.
    pub(super) fn finish(self) -> (Vec<Volume>, Vec<AcName>) {
        let unused = self.all.iter().map(|volume| &volume.name).filter(|name| !self.used.contains(*name));
        let unused = unused.cloned().collect();
        (self.all, unused)
    }

    /// The mounts of one app. Mount points without a volume of their name get an empty one of their own, as in rkt;
    /// with `image_content`, as docker has it, that begins with what the image has there. With `nested` mounts may lie in each
    /// other.
    pub(super) fn satisfy(
        &mut self,
        app_name: &AcName,
        app: &App,
        asked: Vec<Mount>,
        image_content: bool,
        nested: bool,
    ) -> Result<Mounts, ReifyError> {
        let mut found = Mounts::default();
        for mount in asked {
            self.take_asked(app_name, mount, &mut found)?;
        }
        let explicit = found.mounts.len();
        let in_asked =
            |mounts: &[Mount], path: &str| mounts[..explicit].iter().any(|mount| is_below(path, &mount.path));
        check_points(app_name, &app.mount_points)?;
        for point in &app.mount_points {
            if found.mounts[..explicit].iter().any(|mount| components(&mount.path).eq(components(&point.path))) {
                continue;
            }
            if self.has(&point.name) {
                found.mounts.push(self.mount(point.name.clone(), &point.path));
            } else if !image_content {
                let volume = self.add_empty(app_name, &point.name)?;
                found.implicit.push(format!("{volume} ({})", point.path));
                found.mounts.push(self.mount(volume, &point.path));
            } else if nested && in_asked(&found.mounts, &point.path) {
                let volume = self.add_empty(app_name, &point.name)?;
                found.filled.push(point.path.clone());
                found.mounts.push(self.mount(volume, &point.path));
            } else if !found.mounts.iter().any(|mount| match nested {
                true => is_below(&point.path, &mount.path),
                false => overlap(&mount.path, &point.path),
            }) {
                // Within another mount, or around one, the app's own copy of the image is as good a place.
                let volume = self.add_empty(app_name, &point.name)?;
                found.image_content.push(point.path.clone());
                found.mounts.push(self.mount(volume, &point.path));
            }
        }
        refuse_overlaps(app_name, &found.mounts, nested)?;
        Ok(found)
    }

    fn take_asked(&mut self, app: &AcName, asked: Mount, found: &mut Mounts) -> Result<(), ReifyError> {
        let path = format!("/{}", components(&asked.path).collect::<Vec<_>>().join("/"));
        if let Some(volume) = asked.app_volume
            && !self.has(&volume.name)
        {
            self.all.push(volume);
        }
        if !self.has(&asked.volume) {
            return Err(ReifyError::NoVolume { app: app.clone(), volume: asked.volume, path });
        }
        let mount = self.mount(asked.volume, &path);
        // rkt lets people say the same thing twice.
        if !found.mounts.contains(&mount) {
            found.mounts.push(mount);
        }
        Ok(())
    }

    fn has(&self, name: &AcName) -> bool {
        self.all.iter().any(|volume| volume.name == *name)
    }

    fn mount(&mut self, volume: AcName, path: &str) -> Mount {
        self.used.insert(volume.clone());
        Mount { volume, path: path.to_owned(), app_volume: None }
    }

    /// rkt's `APP-MOUNTPOINT`; app `a-b` with point `c` and app `a` with `b-c` would get one name, so a number may
    /// follow.
    fn add_empty(&mut self, app: &AcName, point: &AcName) -> Result<AcName, ReifyError> {
        let name = (1..)
            .map(|n| if n == 1 { format!("{app}-{point}") } else { format!("{app}-{point}-{n}") })
            .map(|name| AcName::sanitize(&name))
            .find(|name| name.as_ref().map_or(true, |name| !self.has(name)))
            .and_then(Result::ok)
            .ok_or_else(|| ReifyError::NoVolumeName { app: app.clone(), name: point.clone() })?;
        self.all.push(Volume::empty(name.clone()));
        Ok(name)
    }
}

/// What an image may not say: paths that lead astray (appc's schema lets them pass), names and paths that come twice.
fn check_points(app: &AcName, points: &[MountPoint]) -> Result<(), ReifyError> {
    let mut names = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for MountPoint { name, path, .. } in points {
        if name.is_empty() {
            return Err(ReifyError::NamelessMountPoint { app: app.clone(), path: path.clone() });
        }
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(ReifyError::BadMountPoint { app: app.clone(), name: name.clone(), path: path.clone() });
        }
        let twice = |what: String| Err(ReifyError::DuplicateMountPoint { app: app.clone(), what });
        if !names.insert(name) {
            return twice(format!("named {name}"));
        }
        if !paths.insert(components(path).collect::<Vec<_>>()) {
            return twice(format!("at {path:?}"));
        }
    }
    Ok(())
}

fn refuse_overlaps(app: &AcName, mounts: &[Mount], nested: bool) -> Result<(), ReifyError> {
    let same = |one: &str, other: &str| components(one).eq(components(other));
    let clash = |one: &str, other: &str| if nested { same(one, other) } else { overlap(one, other) };
    for (index, mount) in mounts.iter().enumerate() {
        if let Some(other) = mounts[..index].iter().find(|other| clash(&other.path, &mount.path)) {
            let (app, one, other) = (app.clone(), other.path.clone(), mount.path.clone());
            return Err(ReifyError::Overlap { app, one, other });
        }
    }
    Ok(())
}

/// Whether one of the paths is the other or below it.
fn overlap(one: &str, other: &str) -> bool {
    components(one).zip(components(other)).all(|(one, other)| one == other)
}

/// Whether a path lies below another.
fn is_below(path: &str, other: &str) -> bool {
    components(path).count() > components(other).count() && overlap(path, other)
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: &[(&str, &str)]) -> App {
        let point = |&(name, path): &(&str, &str)| MountPoint {
            name: name.parse().unwrap(),
            path: path.into(),
            read_only: false,
        };
        App { mount_points: points.iter().map(point).collect(), ..App::default() }
    }

    /// Whose rules hold: appc's, those of OCI images, docker's.
    #[derive(Clone, Copy, PartialEq)]
    enum How {
        Appc,
        Oci,
        Nested,
    }
    use How::{Appc, Nested, Oci};

    /// The mounts as `VOLUME:PATH`, with `*` behind those that begin with the image's content, and `+` if that is a copy.
    fn satisfied(declared: &[&str], asked: &[(&str, &str)], app: &App, how: How) -> Result<Vec<String>, String> {
        let declared = declared.iter().map(|text| text.parse().unwrap()).collect();
        let mount = |&(volume, path): &(&str, &str)| Mount {
            volume: volume.parse().unwrap(),
            path: path.into(),
            app_volume: None,
        };
        let asked = asked.iter().map(mount).collect();
        let name = "app".parse().unwrap();
        let mut volumes = Volumes::declared(declared).map_err(|e| e.to_string())?;
        let (content, nested) = (how != Appc, how == Nested);
        let found = volumes.satisfy(&name, app, asked, content, nested).map_err(|e| e.to_string())?;
        let star = |mount: &Mount| match () {
            () if found.image_content.contains(&mount.path) => "*",
            () if found.filled.contains(&mount.path) => "+",
            () => "",
        };
        Ok(found.mounts.iter().map(|mount| format!("{}:{}{}", mount.volume, mount.path, star(mount))).collect())
    }

    const V: &str = "v,kind=host,source=/srv";
    const W: &str = "w,kind=empty";

    #[test]
    fn mount_points_are_satisfied_by_path_then_by_name_then_by_themselves() {
        let app = points(&[("v", "/v"), ("x", "/x")]);
        let mounts = |asked: &[(&str, &str)]| satisfied(&[V, W], asked, &app, Appc).unwrap();
        assert_eq!(mounts(&[]), ["v:/v", "app-x:/x"]);
        assert_eq!(mounts(&[("w", "v/")]), ["w:/v", "app-x:/x"]);
        assert_eq!(mounts(&[("v", "/elsewhere"), ("w", "/x")]), ["v:/elsewhere", "w:/x", "v:/v"]);
        assert_eq!(mounts(&[("v", "/v"), ("v", "/v/")]), ["v:/v", "app-x:/x"]);
        assert_eq!(mounts(&[("v", "a/../../b")])[0], "v:/a/../../b");
    }

    #[test]
    fn volumes_that_nobody_named_make_way_in_images_that_keep_their_content() {
        let app = points(&[("a", "/data"), ("b", "/data/deep")]);
        let mounts = |asked: &[(&str, &str)]| satisfied(&[V], asked, &app, Oci).unwrap();
        assert_eq!(mounts(&[]), ["app-a:/data*"]);
        assert_eq!(mounts(&[("v", "/data/deep/er")]), ["v:/data/deep/er"]);
        assert_eq!(mounts(&[("v", "/data/other")]), ["v:/data/other", "app-b:/data/deep*"]);
        assert_eq!(mounts(&[("v", "/data")]), ["v:/data"]);
    }

    #[test]
    fn mounts_may_lie_in_each_other_where_docker_asks() {
        let app = points(&[("a", "/data"), ("b", "/data/deep")]);
        let mounts = |asked: &[(&str, &str)]| satisfied(&[V, W], asked, &app, Nested);
        assert_eq!(mounts(&[]).unwrap(), ["app-a:/data*"]);
        assert_eq!(mounts(&[("v", "/data/deep/er")]).unwrap(), ["v:/data/deep/er", "app-a:/data*"]);
        assert_eq!(mounts(&[("v", "/data")]).unwrap(), ["v:/data", "app-b:/data/deep+"]);
        assert_eq!(mounts(&[("v", "/x/y"), ("w", "/x")]).unwrap()[..2], ["v:/x/y", "w:/x"]);
        let twice = mounts(&[("v", "/x"), ("w", "/x/")]).unwrap_err();
        assert!(twice.starts_with("app app: the mounts at /x and /x overlap"), "{twice}");
    }

    #[test]
    fn mounts_that_make_no_sense_are_refused() {
        let none = points(&[]);
        for (declared, asked, app, why) in [
            (&[V][..], &[("x", "/x")][..], &none, "app app: there is no volume x for the mount at /x"),
            (&[V, W], &[("v", "/a"), ("w", "/a/b")], &none, "app app: the mounts at /a and /a/b overlap"),
            (&[V, W], &[("v", "/a"), ("w", "a")], &none, "app app: the mounts at /a and /a overlap"),
            (&[V, W], &[("w", "/v/w")], &points(&[("v", "/v")]), "app app: the mounts at /v/w and /v overlap"),
            (&[V, V], &[], &none, "duplicate volume name \"v\""),
            (&["w,kind=empty,mode=999"], &[], &none, "volume w has the mode \"999\""),
            (&["w,kind=empty,mode=10000"], &[], &none, "volume w has the mode \"10000\""),
        ] {
            let error = satisfied(declared, asked, app, Appc).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn mount_points_that_lead_astray_are_refused() {
        for (given, why) in [
            (&[("a", "a")][..], "mount point a of app app has the path \"a\""),
            (&[("a", "")], "mount point a of app app has the path \"\""),
            (&[("a", "/a/../../etc")], "mount point a of app app has the path \"/a/../../etc\""),
            (&[("a", "/a"), ("a", "/b")], "app app has two mount points named a"),
            (&[("a", "/a"), ("b", "/a/.")], "app app has two mount points at \"/a/.\""),
            (&[("a", "/a"), ("b", "/a/b")], "app app: the mounts at /a and /a/b overlap"),
        ] {
            let error = satisfied(&[], &[], &points(given), Appc).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn volume_names_do_not_collide() {
        let mut volumes = Volumes::declared(vec!["a-b-c,kind=empty".parse().unwrap()]).unwrap();
        let name = volumes.add_empty(&"a".parse().unwrap(), &"b-c".parse().unwrap()).unwrap();
        assert_eq!(name.as_str(), "a-b-c-2");
        assert_eq!(volumes.finish().1.len(), 2, "none is used");
    }
}
