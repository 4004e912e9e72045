//! Templates of URLs: `https://host/{name}-{version}.{ext}` with an image's name and labels put in.

use appc::ImageString;

/// What is taken when nobody says which version he wants (appc discovery.md).
const DEFAULT_VERSION: &str = "latest";

/// What may stand in a template, and what it stands for.
#[derive(Debug)]
pub(super) struct Variables<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Variables<'a> {
    /// The name and the labels of an image. A label called `name` is not the name.
    pub(super) fn new(image: &'a ImageString) -> Self {
        let labels = image.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        let labels = labels.filter(|(name, value)| *name != "name" && !(*name == "version" && value.is_empty()));
        let mut variables: Vec<_> = std::iter::once(("name", image.name.as_str())).chain(labels).collect();
        if !variables.iter().any(|(name, _)| *name == "version") {
            variables.push(("version", DEFAULT_VERSION));
        }
        Self(variables)
    }

    /// The URLs of archive and signature; `None` if the template has a variable that the image has not.
    pub(super) fn render(&self, template: &str) -> Option<(String, String)> {
        let render = |ext: &str| {
            let (mut url, mut rest) = (String::with_capacity(template.len() + 64), template);
            // A brace that is not closed is a letter like any other.
            while let Some((before, (variable, after))) =
                rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
            {
                let value = match variable {
                    "ext" => Some(ext),
                    _ => self.0.iter().find(|(name, _)| *name == variable).map(|(_, value)| *value),
                };
                url.push_str(before);
                url.push_str(value?);
                rest = after;
            }
            url.push_str(rest);
            Some(url)
        };
        Some((render("aci")?, render("aci.asc")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(image: &str, template: &str) -> Option<String> {
        let image: ImageString = image.parse().unwrap();
        let (aci, asc) = Variables::new(&image).render(template)?;
        assert_eq!(asc, aci.replace(".aci", ".aci.asc"), "the two differ in {{ext}} alone");
        Some(aci)
    }

    #[test]
    fn names_and_labels_are_put_in() {
        let template = "https://storage.example.com/{name}-{version}-{os}-{arch}.{ext}?torrent";
        assert_eq!(
            rendered("example.com/myapp:1.0.0,os=linux,arch=amd64", template).as_deref(),
            Some("https://storage.example.com/example.com/myapp-1.0.0-linux-amd64.aci?torrent")
        );
        assert_eq!(rendered("example.com/myapp:1.0.0", template), None, "os and arch are not made up");
        assert_eq!(
            rendered("example.com/a", "x/{name}-{version}.{ext}").as_deref(),
            Some("x/example.com/a-latest.aci")
        );
        assert_eq!(rendered("example.com/a,version=", "{version}.{ext}").as_deref(), Some("latest.aci"));
    }

    #[test]
    fn values_are_no_templates() {
        assert_eq!(rendered("a,x={version}", "{x}.{ext}").as_deref(), Some("{version}.aci"));
    }

    #[test]
    fn unfinished_templates_are_skipped() {
        for template in ["{name}-{other}.{ext}", "{}.{ext}", "{{name}}.{ext}", "{a b}.{ext}"] {
            assert_eq!(rendered("example.com/a", template), None, "{template}");
        }
        assert_eq!(rendered("example.com/a", "fixed.{ext}").as_deref(), Some("fixed.aci"));
        assert_eq!(rendered("example.com/a", "x}.{ext}{").as_deref(), Some("x}.aci{"));
    }
}
