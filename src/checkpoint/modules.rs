//! The tree of modules in a checkpoint, read from its tensors' names, as Python's `print(pipe.vae)` shows it.
//!
//! A checkpoint does not contain modules without parameters (SiLU, Dropout), nor strides and paddings.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::escape::one_line;
use crate::numbers::grouped;

use crate::model::Network;

use super::contents::{Contents, Entry};

/// A layer with tensors, or a group of modules under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// The last part of the module's name.
    pub name: String,
    /// The Python class, with the arguments that follow from the shapes.
    pub kind: String,
    /// The number of values in this module's tensors and in those of all modules below it.
    pub parameters: usize,
    /// The shapes of this module's own tensors.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// The modules below this one, in Python's order.
    pub children: Vec<Module>,
}

/// One module of a checkpoint, without the modules below it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModuleRow<'a> {
    /// The full name, as in the checkpoint.
    pub name: String,
    /// The Python class.
    pub kind: &'a str,
    /// The number of values in this module and below it.
    pub parameters: usize,
    /// The shapes of this module's own tensors.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tensors: &'a BTreeMap<String, Vec<usize>>,
}

/// Names in the order in which diffusers creates the modules; encoder and decoder in the order of the pipeline.
const ORDER: [&str; 30] = [
    "encoder",
    "quant_conv",
    "post_quant_conv",
    "decoder",
    "conv_in",
    "down_blocks",
    "up_blocks",
    "attentions",
    "resnets",
    "downsamplers",
    "upsamplers",
    "mid_block",
    "conv_norm_out",
    "norm_out",
    "conv_out",
    "group_norm",
    "norm",
    "to_qkv",
    "proj",
    "resample",
    "time_conv",
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "norm1",
    "conv1",
    "norm2",
    "conv2",
    "conv_shortcut",
];

impl Module {
    /// Builds the tree of a whole checkpoint with this network.
    pub fn of(contents: &Contents, network: &Network) -> Self {
        let tensors: Vec<(&str, &Entry)> = contents.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        Self::new("", "", &tensors, network)
    }

    /// Builds the module `name` in `parent`. The names of `tensors` are relative to it.
    fn new(parent: &str, name: &str, tensors: &[(&str, &Entry)], network: &Network) -> Self {
        let mut own = BTreeMap::new();
        let mut below: BTreeMap<&str, Vec<(&str, &Entry)>> = BTreeMap::new();
        for &(path, entry) in tensors {
            match path.split_once('.') {
                Some((child, rest)) => below.entry(child).or_default().push((rest, entry)),
                None => _ = own.insert(path.to_string(), entry.shape.clone()),
            }
        }
        let mut children: Vec<Self> =
            below.iter().map(|(child, tensors)| Self::new(name, child, tensors, network)).collect();
        children.sort_by_cached_key(|child| rank(&child.name, network));
        let kind = kind(parent, name, &own, &children, network);
        let parameters = tensors.iter().map(|(_, entry)| entry.values()).sum();
        Self { name: name.into(), kind, parameters, tensors: own, children }
    }

    /// Lists every module below this one, parents before children.
    pub fn rows(&self) -> Vec<ModuleRow<'_>> {
        let mut rows = Vec::new();
        self.add_rows("", &mut rows);
        rows
    }

    fn add_rows<'a>(&'a self, prefix: &str, rows: &mut Vec<ModuleRow<'a>>) {
        for child in &self.children {
            let name = format!("{prefix}{}", child.name);
            let below = format!("{name}.");
            let (kind, parameters, tensors) = (child.kind.as_str(), child.parameters, &child.tensors);
            rows.push(ModuleRow { name, kind, parameters, tensors });
            child.add_rows(&below, rows);
        }
    }

    /// Checks whether the two modules differ only in their names.
    fn is_similar(&self, other: &Self) -> bool {
        self.kind == other.kind && self.tensors == other.tensors && self.children == other.children
    }

    fn write(&self, f: &mut fmt::Formatter, label: &str, copies: usize, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        let times = if copies > 1 { format!("{copies} x ") } else { String::new() };
        let open = if self.children.is_empty() { "" } else { "(" };
        let line = one_line(&format!("{indent}({label}): {times}{}{open}", self.kind));
        writeln!(f, "{line:<74}{:>14}", grouped(copies * self.parameters))?;
        if !self.children.is_empty() {
            self.write_children(f, depth + 1)?;
            writeln!(f, "{indent})")?;
        }
        Ok(())
    }

    /// Writes consecutive similar modules as one: `(0-1): 2 x ResnetBlock2D`.
    fn write_children(&self, f: &mut fmt::Formatter, depth: usize) -> fmt::Result {
        for similar in self.children.chunk_by(Self::is_similar) {
            let (first, last) = (&similar[0], &similar[similar.len() - 1]);
            let is_list = first.name.parse::<usize>().is_ok();
            if similar.len() > 1 && is_list {
                first.write(f, &format!("{}-{}", first.name, last.name), similar.len(), depth)?;
            } else {
                similar.iter().try_for_each(|child| child.write(f, &child.name, 1, depth))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Module {
    /// Writes the modules below this one with the numbers of their parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_children(f, 0)
    }
}

/// The sort key of a name: known names in their order, then numbers, then all others alphabetically.
fn rank(name: &str, network: &Network) -> (usize, usize, String) {
    let name_in_order = match (network, name) {
        (Network::Wan(_), "mid_block") => "down_blocks", // before `up_blocks`, and after `down_blocks` by its name
        _ => name,
    };
    let known = ORDER.iter().position(|known| *known == name_in_order).unwrap_or(ORDER.len());
    (known, name.parse().unwrap_or(usize::MAX), name.to_string())
}

fn kind(
    parent: &str,
    name: &str,
    own: &BTreeMap<String, Vec<usize>>,
    below: &[Module],
    network: &Network,
) -> String {
    let bias = if own.contains_key("bias") { "True" } else { "False" };
    match own.get("weight").map(Vec::as_slice) {
        Some(&[c_out, c_in, height, width]) => {
            return format!("Conv2d({c_in}, {c_out}, kernel_size=({height}, {width}))");
        }
        Some(&[c_out, c_in, frames, height, width]) => {
            return format!("WanCausalConv3d({c_in}, {c_out}, kernel_size=({frames}, {height}, {width}))");
        }
        Some(&[c_out, c_in]) => {
            return format!("Linear(in_features={c_in}, out_features={c_out}, bias={bias})");
        }
        Some(&[channels]) => {
            let groups = if let Network::Kl(kl) = network { kl.norm_num_groups } else { 1 };
            return format!("GroupNorm({groups}, {channels})");
        }
        _ if own.contains_key("gamma") => return "WanRMS_norm()".to_string(),
        _ => {}
    }
    let is_list = !below.is_empty() && below.iter().all(|child| child.name.parse::<usize>().is_ok());
    class(network, parent, name, below).unwrap_or(if is_list { "ModuleList" } else { "Module" }).to_string()
}

/// The Python class of a group of modules, if its names tell.
fn class(network: &Network, parent: &str, name: &str, below: &[Module]) -> Option<&'static str> {
    Some(match network {
        Network::Kl(_) => match (parent, name) {
            (_, "encoder") => "Encoder",
            (_, "decoder") => "Decoder",
            (_, "mid_block") => "UNetMidBlock2D",
            ("down_blocks", _) => "DownEncoderBlock2D",
            ("up_blocks", _) => "UpDecoderBlock2D",
            ("resnets", _) => "ResnetBlock2D",
            ("attentions", _) => "Attention",
            ("downsamplers", _) => "Downsample2D",
            ("upsamplers", _) => "Upsample2D",
            _ => return None,
        },
        Network::Wan(_) => match (parent, name) {
            (_, "encoder") => "WanEncoder3d",
            (_, "decoder") => "WanDecoder3d",
            (_, "mid_block") => "WanMidBlock",
            ("down_blocks" | "upsamplers", _) if below.iter().any(|child| child.name == "resample") => {
                "WanResample"
            }
            ("up_blocks", _) => "WanUpBlock",
            ("down_blocks" | "resnets", _) => "WanResidualBlock",
            ("attentions", _) => "WanAttentionBlock",
            (_, "resample") => "Sequential",
            _ => return None,
        },
        Network::Tiny(_) => match (parent, name) {
            (_, "encoder") => "EncoderTiny",
            (_, "decoder") => "DecoderTiny",
            ("layers", _) => "AutoencoderTinyBlock",
            (_, "layers" | "conv") => "Sequential",
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_similar_modules_become_one_line() {
        let entry = |name: &str, shape: &[usize]| Entry {
            name: name.into(),
            dtype: "F32".into(),
            shape: shape.to_vec(),
        };
        let tensors = vec![
            entry("resnets.0.conv1.weight", &[8, 4, 3, 3]),
            entry("resnets.1.conv1.weight", &[8, 8, 3, 3]),
            entry("resnets.10.conv1.weight", &[8, 8, 3, 3]),
            entry("resnets.2.conv1.weight", &[8, 8, 3, 3]),
            entry("to_q.bias", &[8]),
            entry("to_q.weight", &[8, 8]),
        ];
        let config = r#"{"_class_name": "AutoencoderKL", "norm_num_groups": 4}"#;
        let network = crate::model::Config::from_json(config).expect("a valid config").network;
        let module = Module::of(&Contents { tensors, metadata: BTreeMap::new() }, &network);
        let text = module.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].starts_with("(resnets): ModuleList(") && lines[0].ends_with(" 2,016"), "{text}");
        assert!(lines[1].starts_with("(0): ResnetBlock2D("), "{text}");
        assert!(lines[4].starts_with("(1-10): 3 x ResnetBlock2D(") && lines[4].ends_with(" 1,728"), "{text}");
        assert!(lines[8].starts_with("(to_q): Linear(in_features=8, out_features=8, bias=True)"), "{text}");
    }
}
