//! What a kept pod needs to be run again, or exported, beside its manifest: the file `setup` in its directory.

use appc::{AcName, ImageManifest, PodManifest, RuntimeApp};
use serde::{Deserialize, Serialize};
use store::LayerKey;

use crate::error::{CommandError, Explain as _};

/// The version of this format.
const VERSION: u32 = 1;

/// The file `setup`. Members that are not known are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    version: u32,
    /// The pod's host name.
    pub(crate) hostname: String,
    /// For each app of the manifest, by name.
    pub(crate) apps: Vec<AppSetup>,
    /// How it is to be run, where that was said when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) life: Option<Life>,
}

/// How a pod is to be run, for who starts it without saying so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Life {
    /// Whether its app has an input.
    pub(crate) stdin: bool,
    /// Whether its app has a terminal.
    pub(crate) tty: bool,
    /// Whether it is removed when it has ended.
    pub(crate) remove: bool,
    /// When its app is started again, as it is typed.
    pub(crate) restart: String,
}

/// What the manifest does not say of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppSetup {
    /// The app's name.
    pub(crate) name: String,
    /// The layers of its image, lowest first: no garbage collection removes their trees.
    pub(crate) layers: Vec<LayerKey>,
    /// The manifest of its image, which may be removed from the store meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

impl AppSetup {
    pub(crate) fn new(name: String, layers: Vec<LayerKey>, image: &ImageManifest) -> Self {
        // A manifest that was stored can be printed.
        let image = image.to_json().ok().and_then(|json| String::from_utf8(json).ok());
        Self { name, layers, image }
    }
}

impl Setup {
    /// That of a pod which is made of these images; `layers` are, for each app, the names of its trees.
    pub(crate) fn of(
        manifest: &PodManifest,
        hostname: &str,
        layers: Vec<Vec<LayerKey>>,
        images: &[ImageManifest],
    ) -> Self {
        let apps = manifest.apps.iter().zip(layers).zip(images);
        let apps = apps.map(|((app, layers), image)| AppSetup::new(app.name.to_string(), layers, image));
        Self { version: VERSION, hostname: hostname.to_owned(), apps: apps.collect(), life: None }
    }

    /// Takes in an app that was added, in the place of one that has its name.
    pub(crate) fn add(&mut self, app: AppSetup) {
        self.remove(&app.name);
        self.apps.push(app);
    }

    /// Forgets an app.
    pub(crate) fn remove(&mut self, name: &str) {
        self.apps.retain(|app| app.name != name);
    }

    /// What is known of an app.
    ///
    /// # Errors
    /// Nothing is.
    pub(crate) fn app(&self, name: &AcName) -> Result<&AppSetup, CommandError> {
        let app = self.apps.iter().find(|app| app.name == name.as_str());
        app.ok_or_else(|| CommandError::failed(format!("the pod's setup lacks the app {:?}", name.as_str())))
    }

    /// The same, with what was said of how the pod is to be run.
    pub(crate) fn with_life(mut self, life: Option<Life>) -> Self {
        self.life = life;
        self
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it holds strings and numbers")
    }

    /// The manifest of the image of each app of `manifest`; of one that is not known, what the pod says of it.
    ///
    /// # Errors
    /// What was written is no manifest.
    pub(crate) fn images(&self, manifest: &PodManifest) -> Result<Vec<ImageManifest>, CommandError> {
        let known = |app: &RuntimeApp| self.apps.iter().find(|setup| setup.name == app.name.as_str())?.image.as_deref();
        let image = |app: &RuntimeApp| match known(app) {
            Some(json) => ImageManifest::from_json(json.as_bytes()).during(|| "read the pod's setup".into()),
            None => Ok(stage1::metadata::image_of(app)),
        };
        manifest.apps.iter().map(image).collect()
    }

    /// Reads what [`Setup::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else, or of a later version.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, CommandError> {
        let setup: Self = serde_json::from_slice(json).during(|| "read the pod's setup".into())?;
        if setup.version != VERSION {
            return Err(CommandError::failed(format!("the pod's setup has the unknown version {}", setup.version)));
        }
        Ok(setup)
    }
}
