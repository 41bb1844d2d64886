//! The tree of modules that the names of a checkpoint's tensors spell, as Python's `print(pipe.vae)` shows it.
//!
//! Modules without parameters (SiLU, Dropout) are not in a checkpoint, and strides and paddings neither.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::contents::{Contents, Entry};
use crate::numbers::grouped;

/// A module: a layer with tensors of its own, or modules under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Its part of the tensors' names.
    pub name: String,
    /// Its class in Python, with what the shapes say of its arguments.
    pub kind: String,
    /// Values in its own tensors and in those of all modules below.
    pub parameters: usize,
    /// Shapes of its own tensors.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// The modules below, in Python's order.
    pub children: Vec<Module>,
}

/// A module without those below it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    /// Its whole name, as in the checkpoint.
    pub name: String,
    /// Its class in Python.
    pub kind: &'a str,
    /// Values in it and below.
    pub parameters: usize,
    /// Shapes of its own tensors.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tensors: &'a BTreeMap<String, Vec<usize>>,
}

/// Names in the order in which diffusers makes the modules (the two halves: in that of the pipeline).
const ORDER: [&str; 24] = [
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
    "conv_out",
    "group_norm",
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
    /// The tree of a whole checkpoint; `groups` is `norm_num_groups` of its config.
    pub fn of(contents: &Contents, groups: usize) -> Self {
        let tensors: Vec<(&str, &Entry)> = contents.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        Self::new("", "", &tensors, groups)
    }

    /// The module `name` in `parent`; the names of `tensors` are relative to it.
    fn new(parent: &str, name: &str, tensors: &[(&str, &Entry)], groups: usize) -> Self {
        let mut own = BTreeMap::new();
        let mut below: BTreeMap<&str, Vec<(&str, &Entry)>> = BTreeMap::new();
        for &(path, entry) in tensors {
            match path.split_once('.') {
                Some((child, rest)) => below.entry(child).or_default().push((rest, entry)),
                None => _ = own.insert(path.to_string(), entry.shape.clone()),
            }
        }
        let mut children: Vec<Self> =
            below.iter().map(|(child, tensors)| Self::new(name, child, tensors, groups)).collect();
        children.sort_by_cached_key(|child| rank(&child.name));
        let kind = kind(parent, name, &own, &children, groups);
        let parameters = tensors.iter().map(|(_, entry)| entry.values()).sum();
        Self { name: name.into(), kind, parameters, tensors: own, children }
    }

    /// Every module below this one, each before those below it.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        self.add_rows("", &mut rows);
        rows
    }

    fn add_rows<'a>(&'a self, prefix: &str, rows: &mut Vec<Row<'a>>) {
        for child in &self.children {
            let name = format!("{prefix}{}", child.name);
            let below = format!("{name}.");
            let (kind, parameters, tensors) = (child.kind.as_str(), child.parameters, &child.tensors);
            rows.push(Row { name, kind, parameters, tensors });
            child.add_rows(&below, rows);
        }
    }

    /// Whether Python would print both as one, but for their names.
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.tensors == other.tensors && self.children == other.children
    }

    fn write(&self, f: &mut fmt::Formatter, label: &str, copies: usize, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        let times = if copies > 1 { format!("{copies} x ") } else { String::new() };
        let open = if self.children.is_empty() { "" } else { "(" };
        let line = format!("{indent}({label}): {times}{}{open}", self.kind);
        writeln!(f, "{line:<74}{:>14}", grouped(copies * self.parameters))?;
        if !self.children.is_empty() {
            self.write_children(f, depth + 1)?;
            writeln!(f, "{indent})")?;
        }
        Ok(())
    }

    /// Neighbours that are alike become one line, `(0-1): 2 x ResnetBlock2D`.
    fn write_children(&self, f: &mut fmt::Formatter, depth: usize) -> fmt::Result {
        for alike in self.children.chunk_by(Self::is_like) {
            let (first, last) = (&alike[0], &alike[alike.len() - 1]);
            let is_list = first.name.parse::<usize>().is_ok();
            if alike.len() > 1 && is_list {
                first.write(f, &format!("{}-{}", first.name, last.name), alike.len(), depth)?;
            } else {
                alike.iter().try_for_each(|child| child.write(f, &child.name, 1, depth))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Module {
    /// The modules below this one, with the number of their parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_children(f, 0)
    }
}

/// Known names in their order, then numbers in theirs, then all others in the alphabet's.
fn rank(name: &str) -> (usize, usize, String) {
    let known = ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    (known, name.parse().unwrap_or(usize::MAX), name.to_string())
}

fn kind(
    parent: &str,
    name: &str,
    own: &BTreeMap<String, Vec<usize>>,
    below: &[Module],
    groups: usize,
) -> String {
    let bias = if own.contains_key("bias") { "True" } else { "False" };
    match own.get("weight").map(Vec::as_slice) {
        Some(&[c_out, c_in, height, width]) => {
            return format!("Conv2d({c_in}, {c_out}, kernel_size=({height}, {width}))");
        }
        Some(&[c_out, c_in]) => {
            return format!("Linear(in_features={c_in}, out_features={c_out}, bias={bias})");
        }
        Some(&[channels]) => return format!("GroupNorm({groups}, {channels})"),
        _ => {}
    }
    let class = match (parent, name) {
        (_, "encoder") => "Encoder",
        (_, "decoder") => "Decoder",
        (_, "mid_block") => "UNetMidBlock2D",
        ("down_blocks", _) => "DownEncoderBlock2D",
        ("up_blocks", _) => "UpDecoderBlock2D",
        ("resnets", _) => "ResnetBlock2D",
        ("attentions", _) => "Attention",
        ("downsamplers", _) => "Downsample2D",
        ("upsamplers", _) => "Upsample2D",
        _ if !below.is_empty() && below.iter().all(|child| child.name.parse::<usize>().is_ok()) => {
            "ModuleList"
        }
        _ => "Module",
    };
    class.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_are_alike_are_one_line() {
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
        let module = Module::of(&Contents { tensors, metadata: BTreeMap::new() }, 4);
        let text = module.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].starts_with("(resnets): ModuleList(") && lines[0].ends_with(" 2,016"), "{text}");
        assert!(lines[1].starts_with("(0): ResnetBlock2D("), "{text}");
        assert!(lines[4].starts_with("(1-10): 3 x ResnetBlock2D(") && lines[4].ends_with(" 1,728"), "{text}");
        assert!(lines[8].starts_with("(to_q): Linear(in_features=8, out_features=8, bias=True)"), "{text}");
    }
}
