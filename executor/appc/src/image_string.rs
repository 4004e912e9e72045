//! How an image is asked for by name on a command line: `NAME[:VERSION][,LABEL=VALUE…]`.

use std::fmt;
use std::str::FromStr;

use crate::labels::{Label, Labels};
use crate::name::{AcIdentifier, NameError};
use crate::parameters::{self, ParameterError};

/// A text that does not name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageStringError {
    /// A version after a label.
    #[error("malformed app string - colon may appear only right after the app name")]
    ColonAfterLabel {
        /// The refused text.
        text: String,
    },
    /// Two versions, or a colon in a value.
    #[error("malformed app string - colon may appear at most once")]
    SecondColon {
        /// The refused text.
        text: String,
    },
    /// Parts that are no labels.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// The image's name, or a label's, is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// An image asked for by name and labels.
///
/// A label that is not there may have any value in the image found. The values are not checked, not even those of
/// `os` and `arch`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageString {
    /// The image's name.
    pub name: AcIdentifier,
    /// Labels it must have, in the order they were given; `version` is one of them.
    pub labels: Labels,
}

impl FromStr for ImageString {
    type Err = ImageStringError;

    fn from_str(text: &str) -> Result<Self, ImageStringError> {
        let comma = text.find(',').unwrap_or(text.len());
        if text.find(':').is_some_and(|colon| colon > comma) {
            return Err(ImageStringError::ColonAfterLabel { text: text.to_owned() });
        }
        if text.matches(':').count() > 1 {
            return Err(ImageStringError::SecondColon { text: text.to_owned() });
        }
        let mut name = String::new();
        let mut labels = Vec::new();
        for (key, value) in parameters::pairs(&text.replacen(':', ",version=", 1))? {
            match key.as_str() {
                "name" => name = value,
                key => labels.push(Label { name: key.parse()?, value }),
            }
        }
        Ok(Self { name: name.parse()?, labels: labels.into() })
    }
}

impl fmt::Display for ImageString {
    /// The form that parses to the same again, unless a value holds a comma or a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(version) = self.labels.get("version") {
            write!(f, ":{version}")?;
        }
        let others = self.labels.iter().filter(|label| label.name != "version");
        others.into_iter().try_for_each(|label| write!(f, ",{}={}", label.name, label.value))
    }
}
