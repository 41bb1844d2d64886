//! The pipeline that a checkpoint belongs to, as listed in `model_index.json` above its folder.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::small_file;

/// The file's name.
pub(super) const INDEX: &str = "model_index.json";

/// One component of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// The component's name, which is also the name of its folder.
    pub name: String,
    /// The Python library that defines the class.
    pub library: String,
    /// The Python class.
    pub class: String,
    /// Whether this is the opened checkpoint.
    pub loaded: bool,
}

/// A diffusers pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    /// The Python class.
    pub class: String,
    /// The components, sorted alphabetically.
    pub components: Vec<Component>,
}

impl Pipeline {
    /// Reads `model_index.json` in the parent of `folder`, if it exists and lists `folder` as a component.
    pub(super) fn above(folder: &Path) -> Option<Self> {
        let name = folder.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned();
        let text = small_file::read(&folder.join("..").join(INDEX)).ok()?;
        Self::parse(&text, &name)
    }

    fn parse(text: &str, loaded: &str) -> Option<Self> {
        let index: Map<String, Value> = serde_json::from_str(text).ok()?;
        let component = |(name, value): (&String, &Value)| {
            // A component is a pair of strings; an absent one is a pair of nulls.
            let [library, class] = value.as_array()?.as_slice() else { return None };
            let (library, class) = (library.as_str()?.to_string(), class.as_str()?.to_string());
            Some(Component { name: name.clone(), library, class, loaded: name == loaded })
        };
        let class = index.get("_class_name")?.as_str()?.to_string();
        let components: Vec<Component> = index.iter().filter_map(component).collect();
        components.iter().any(|c| c.loaded).then_some(Self { class, components })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_components_are_not_listed() {
        let text = r#"{"_class_name": "StableDiffusionPipeline", "requires_safety_checker": false,
            "vae": ["diffusers", "AutoencoderKL"], "safety_checker": [null, null],
            "unet": ["diffusers", "UNet2DConditionModel"]}"#;
        let pipeline = Pipeline::parse(text, "vae").expect("a pipeline");
        assert_eq!(pipeline.class, "StableDiffusionPipeline");
        let listed: Vec<(&str, bool)> =
            pipeline.components.iter().map(|c| (c.name.as_str(), c.loaded)).collect();
        assert_eq!(listed, [("unet", false), ("vae", true)]);
        for broken in ["", "[]", "{}", r#"{"_class_name": 7}"#, r#"{"_class_name": "A"}"#] {
            assert_eq!(Pipeline::parse(broken, "vae"), None, "{broken}");
        }
        assert_eq!(Pipeline::parse(text, "models"), None);
    }
}
