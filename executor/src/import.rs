//! The store as commands see it, and what a reference means: an image that is stored, or one to be brought in.

use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;

use appc::ImageString;
use fetch::{AciFile, ImageRef, Source};
use stage1::idmap::IdMapping;
use stage1::limits;
use store::{Choice, FindError, IdMap, ImageRecord, Keep, Store};
use tracing::{info, info_span};

use crate::config::ConfigDirs;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::idmap;
use crate::insecure::Insecure;
use crate::progress::ProgressForm;
use crate::pull_policy::{PullPolicy, Pulling};
use crate::signature::{self, Voucher};
use crate::userns::Userns;
use crate::web::Web;

mod aci;
mod chunked;
mod dependencies;
pub(crate) mod inflated;
mod intake;
mod layers;
mod pull;
mod push;
mod rendered;
mod spool;
mod trees;
mod writeback;

use inflated::Inflated;

pub(crate) use intake::sniff;

/// Descriptors that an image of the most layers takes on its way into the store: archives, trees, and what is being extracted.
const FILES_OF_IMAGE: usize = 1024;

/// The store of one user, and the id map under which its trees are extracted.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) store: Store,
    pub(crate) mapping: IdMapping,
    pub(crate) map: IdMap,
    insecure: Insecure,
    keep_of_layers: Keep,
    policy: PullPolicy,
    progress: ProgressForm,
    config_dirs: ConfigDirs,
    web: OnceCell<Web>,
    /// The last archive that was inflated: others of its images may be wanted.
    inflated: RefCell<Option<Rc<Inflated>>>,
    require_signature: bool,
    trust_keys_from_https: bool,
}

/// What an ACI has to be, and where it can be had again.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// Who answers for it.
    pub(crate) voucher: &'a Voucher,
    /// The reference by which it can be fetched again.
    pub(crate) source: Option<String>,
    /// What it was asked for by, if by name.
    pub(crate) wanted: Option<Wanted<'a>>,
}

/// The name and labels of an image that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// As they were typed.
    pub(crate) typed: &'a ImageString,
    /// With the labels of this machine.
    pub(crate) complete: &'a ImageString,
}

impl Images {
    /// Opens the store, making it where there is none. `pulling` says when an image's origin is asked, and what is told of
    /// that.
    ///
    /// # Errors
    ///
    /// There is no data directory, no id map, or the store cannot be trusted.
    pub(crate) fn open(context: &Context, pulling: impl Into<Pulling>) -> Result<Self, CommandError> {
        Self::of(context, context.store()?, pulling)
    }

    /// Opens the store as it is, for images that are there or are not: no origin is asked, and nothing is made.
    ///
    /// # Errors
    ///
    /// As [`Images::open`].
    pub(crate) fn existing(context: &Context) -> Result<Self, CommandError> {
        Self::of(context, context.stored()?, PullPolicy::Never)
    }

    fn of(context: &Context, store: Store, pulling: impl Into<Pulling>) -> Result<Self, CommandError> {
        let mapping = idmap::detect(context.data_dir()?)?;
        let map = IdMap::new(&mapping.key());
        let config_dirs = context.config_dirs().clone();
        let (insecure, keep_of_layers, web) = (context.insecure, Keep::Recipe, OnceCell::new());
        let inflated = RefCell::new(None);
        let Pulling { policy, progress } = pulling.into();
        Ok(Self {
            store,
            mapping,
            map,
            insecure,
            keep_of_layers,
            policy,
            progress,
            config_dirs,
            web,
            inflated,
            require_signature: context.require_signature,
            trust_keys_from_https: context.trust_keys_from_https,
        })
    }

    /// Tells how far it is.
    pub(crate) fn telling(self, progress: ProgressForm) -> Self {
        Self { progress, ..self }
    }

    /// Keeps the packed layers of OCI images, too.
    pub(crate) fn keeping_layers(self) -> Self {
        Self { keep_of_layers: Keep::Archive, ..self }
    }

    /// The web, with its configuration read when it is first needed.
    fn web(&self) -> Result<&Web, CommandError> {
        match self.web.get() {
            Some(web) => Ok(web),
            None => {
                let made = Web::new(&self.config_dirs, self.insecure)?;
                Ok(self.web.get_or_init(|| made))
            }
        }
    }

    /// The id map of trees and pods.
    pub(crate) fn into_mapping(self) -> IdMapping {
        self.mapping
    }

    /// Maps ids otherwise than this machine would.
    ///
    /// # Errors
    ///
    /// Root asks for it.
    pub(crate) fn map_ids(&mut self, userns: Userns) -> Result<(), CommandError> {
        if userns != Userns::Auto {
            self.mapping = userns.mapping(self.mapping.clone())?;
            self.map = IdMap::new(&self.mapping.key());
        }
        Ok(())
    }

    /// Takes another id map for good.
    pub(crate) fn set_mapping(&mut self, mapping: IdMapping) {
        self.map = IdMap::new(&mapping.key());
        self.mapping = mapping;
    }

    /// Does something with the trees of another id map.
    pub(crate) fn under<T>(&mut self, mapping: IdMapping, work: impl FnOnce(&Self) -> T) -> T {
        let map = IdMap::new(&mapping.key());
        let own = (std::mem::replace(&mut self.mapping, mapping), std::mem::replace(&mut self.map, map));
        let done = work(self);
        (self.mapping, self.map) = own;
        done
    }

    /// The stored image that `reference` means. What is named by a file or layout is brought into the store first; an
    /// ACI file with its `signature`, or the one beside it.
    ///
    /// # Errors
    ///
    /// There is no such image, or it cannot be stored. Nothing of it is left in the store then.
    pub(crate) fn resolve(&self, reference: &ImageRef, signature: Option<&Path>) -> Result<ImageRecord, CommandError> {
        let can_be_signed =
            matches!(reference, ImageRef::Aci(_) | ImageRef::Url(_) | ImageRef::Appc(_) | ImageRef::Name(_));
        if let (Some(file), false) = (signature, can_be_signed) {
            return Err(CommandError::usage(format!(
                "--signature={file:?}: {reference} is no App Container Image, and only those have such signatures"
            )));
        }
        match reference {
            ImageRef::Id(needle) => {
                let found = self.store.find(needle).map_err(|e| not_found(e, needle))?;
                self.as_policies_want(found, None)
            }
            ImageRef::Name(needle) => match self.store.find_name(needle) {
                Err(error @ FindError::NoName(_)) => {
                    self.fetch_by_name(needle, error, signature).and_then(|it| self.with_dependencies(it))
                }
                found => {
                    let chosen = told(found.map_err(|e| not_found(e, needle))?, needle);
                    self.as_policies_want(chosen, Some(needle))
                }
            },
            ImageRef::Registry(name) => self.pull(name),
            ImageRef::Url(url) => {
                let fetched = self.fetch_url(url, signature, false).and_then(|it| self.with_dependencies(it));
                fetched.during(|| url.to_string())
            }
            ImageRef::Appc(wanted) => {
                let fetched = self.fetch_name(wanted, signature, false).and_then(|it| self.with_dependencies(it));
                fetched.during(|| wanted.to_string())
            }
            _ => {
                let fetched = self.fetch(reference, signature)?;
                self.with_dependencies(fetched).during(|| reference.to_string())
            }
        }
    }

    /// Brings an image into the store from where `reference` says it is, whether it is stored already or not.
    ///
    /// # Errors
    ///
    /// As [`Images::resolve`].
    pub(crate) fn fetch(&self, reference: &ImageRef, signature: Option<&Path>) -> Result<ImageRecord, CommandError> {
        limits::expect_files(FILES_OF_IMAGE);
        match reference {
            ImageRef::Hello => return self.import_hello(),
            ImageRef::Registry(name) => return self.pull_again(name),
            ImageRef::Url(url) => return self.fetch_url(url, signature, true).during(|| url.to_string()),
            ImageRef::Appc(wanted) => return self.fetch_name(wanted, signature, true).during(|| wanted.to_string()),
            _ => {}
        }
        let span = info_span!("fetch", image = %reference);
        let inflated = span.in_scope(|| self.inflated_by(reference))?;
        let source = span.in_scope(|| match &inflated {
            None => fetch::open(reference),
            Some(inflated) => inflated.open(reference),
        })?;
        let imported = span.in_scope(|| match source {
            Source::Aci(mut aci) => {
                let voucher = self.check_signature(&mut aci, signature)?;
                let origin = Origin { voucher: &voucher, source: absolute(reference), wanted: None };
                self.import_aci(aci.file, origin)
            }
            Source::Oci(_) if self.require_signature => {
                Err(CommandError::failed("--require-signature: layouts and archives have no signatures")
                    .hint("fetch it from a registry for which a policy names keys"))
            }
            Source::Oci(image) => self.import_oci(&image, absolute(reference), None),
            _ => Err(CommandError::failed("this kind of image is not supported")),
        });
        imported.during(|| reference.to_string())
    }

    /// Accepts an ACI only if a trusted key has signed it: with the given signature, or the one beside it.
    fn check_signature(&self, aci: &mut AciFile, given: Option<&Path>) -> Result<Voucher, CommandError> {
        if self.insecure.image() {
            info!("{} is accepted without a look at its signature", aci.path.display());
            return Ok(Voucher::Nobody);
        }
        let Some(path) = given.or(aci.signature.as_deref()) else {
            let place =
                format!("put it beside the image as {}.asc, or give it with --signature=FILE", aci.path.display());
            return Err(self.unsigned(CommandError::failed("the image has no signature").hint(place)));
        };
        let signature = signature::read(path)?;
        signature::vouch(&self.config_dirs, &mut aci.file, signature).during(|| path.display().to_string())
    }

    /// Adds what mends a missing signature else, unless somebody has decided that nothing does.
    fn unsigned(&self, error: CommandError) -> CommandError {
        match self.require_signature {
            true => error.hint("--require-signature accepts no image without one, whatever --insecure-options says"),
            false => error.hint("--insecure-options=image accepts the image without one"),
        }
    }
}

/// A reference that means the same from any working directory; `None` for a path that is not UTF-8.
fn absolute(reference: &ImageRef) -> Option<String> {
    let absolute = match reference {
        ImageRef::Aci(path) => ImageRef::Aci(std::path::absolute(path).ok()?),
        ImageRef::OciLayout { dir, reference } => {
            ImageRef::OciLayout { dir: std::path::absolute(dir).ok()?, reference: reference.clone() }
        }
        ImageRef::OciArchive { file, reference } => {
            ImageRef::OciArchive { file: std::path::absolute(file).ok()?, reference: reference.clone() }
        }
        ImageRef::DockerArchive { file, reference } => {
            ImageRef::DockerArchive { file: std::path::absolute(file).ok()?, reference: reference.clone() }
        }
        other => other.clone(),
    };
    let text = absolute.to_string();
    (text.parse().as_ref() == Ok(&absolute)).then_some(text)
}

/// The image that a name means. If others are called so too, says which it is (appc aci.md, Dependency Matching, leaves the
/// choice open).
fn told(choice: Choice, name: impl std::fmt::Display) -> ImageRecord {
    let Choice { image, others } = choice;
    if others > 0 {
        let version = image.manifest.labels.get("version").map(|it| format!(", version {it}")).unwrap_or_default();
        warn(&format!("{} stored images are called {name}: {}{version} is taken", others + 1, image.id.short()));
    }
    image
}

/// Says how an image that is not in the store gets there.
pub(crate) fn not_found(error: FindError, needle: &str) -> CommandError {
    let absent = matches!(error, FindError::NoId(_) | FindError::NoName(_));
    let error = CommandError::from(error);
    if absent && Path::new(needle).exists() {
        return error.hint(format!("the file of that name is written ./{needle}, a layout oci:{needle}"));
    }
    if absent {
        error.hint("`proa fetch` stores an image; files are written ./FILE.aci, layouts oci:DIR")
    } else {
        error
    }
}
