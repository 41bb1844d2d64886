//! The pipeline that a checkpoint is part of: what `model_index.json` beside its folder lists.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

/// The file's name.
pub(super) const INDEX: &str = "model_index.json";

/// One part of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Its name, which is that of its folder.
    pub name: String,
    /// The Python library that has its class.
    pub library: String,
    /// Its class.
    pub class: String,
    /// Whether it is the checkpoint at hand.
    pub loaded: bool,
}

/// A pipeline of diffusers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    /// Its class.
    pub class: String,
    /// Its parts, in the alphabet's order.
    pub components: Vec<Component>,
}

impl Pipeline {
    /// Reads `model_index.json` of the folder above `folder`, where there is one and `folder` is a part that it lists.
    pub(super) fn above(folder: &Path) -> Option<Self> {
        let name = folder.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(folder.join("..").join(INDEX)).ok()?;
        Self::parse(&text, &name)
    }

    fn parse(text: &str, loaded: &str) -> Option<Self> {
        let index: Map<String, Value> = serde_json::from_str(text).ok()?;
        let component = |(name, value): (&String, &Value)| {
            // A part is a pair of texts; a part that is left out is a pair of nulls.
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
    fn only_parts_that_are_there_are_listed() {
        let text = r#"{"_class_name": "StableDiffusionPipeline", "requires_safety_checker": false,
            "vae": ["diffusers", "AutoencoderKL"], "safety_checker": [null, null],
            "unet": ["diffusers", "UNet2DConditionModel"]}"#;
        let pipeline = Pipeline::parse(text, "vae").expect("a pipeline");
        assert_eq!(pipeline.class, "StableDiffusionPipeline");
        let parts: Vec<(&str, bool)> =
            pipeline.components.iter().map(|c| (c.name.as_str(), c.loaded)).collect();
        assert_eq!(parts, [("unet", false), ("vae", true)]);
        for broken in ["", "[]", "{}", r#"{"_class_name": 7}"#, r#"{"_class_name": "A"}"#] {
            assert_eq!(Pipeline::parse(broken, "vae"), None, "{broken}");
        }
        assert_eq!(Pipeline::parse(text, "models"), None);
    }
}
