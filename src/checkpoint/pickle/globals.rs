//! The functions and classes of Python that a pickle names, and what a name stands for here. Nothing is ever imported.

use std::fmt;

use safetensors::tensor::Dtype;

/// A function or class that a pickle names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Global {
    /// The module, such as `collections`.
    pub module: String,
    /// The name in the module. It can contain dots.
    pub name: String,
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// Modules with functions that run programs or code, change files, use the network, or reach such functions by their name.
/// Their submodules count as well. [picklescan](https://github.com/mmaitre314/picklescan) has a similar list. No such list is
/// complete.
const MODULES: [&str; 6] = [
    "os posix nt subprocess _posixsubprocess commands popen2 pty multiprocessing signal _thread",
    "sys runpy code codeop imp importlib pkgutil marshal ctypes pydoc",
    "pickle _pickle cPickle dill cloudpickle joblib",
    "bdb pdb cProfile profile timeit trace lib2to3 distutils ensurepip pip",
    "socket _socket ssl http httplib urllib urllib2 requests aiohttp asyncio ftplib smtplib webbrowser",
    "shutil _io",
];

/// The same for some names of other modules.
const NAMES: [(&str, &str); 12] = [
    ("__builtin__", BUILTINS),
    ("builtins", BUILTINS),
    ("io", "FileIO open open_code"),
    ("functools", "reduce"),
    ("numpy", "load fromfile"),
    ("numpy.testing._private.utils", "runstring"),
    ("operator", "attrgetter methodcaller call"),
    ("torch", "load"),
    ("torch.hub", "load download_url_to_file load_state_dict_from_url"),
    ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("types", "CodeType FunctionType MethodType ModuleType"),
];

const BUILTINS: &str = "__import__ apply breakpoint compile delattr eval exec execfile file getattr globals input locals \
                        open reload setattr vars";

impl Global {
    /// Whether a file of weights has no use for it, and Python would do harm if the pickle called it.
    pub fn is_dangerous(&self) -> bool {
        let has = |words: &str, word: &str| words.split_whitespace().any(|other| other == word);
        let is_module = |name: &str| MODULES.iter().any(|modules| has(modules, name));
        let top = self.module.split('.').next().unwrap_or_default();
        // The first parts of a name with dots can be modules too: `os.system` in `torch`.
        let inner = self.name.rsplit_once('.').map_or("", |(path, _)| path);
        is_module(top)
            || inner.split('.').any(|part| is_module(part) || part == "builtins" || part.starts_with("__"))
            || NAMES.iter().any(|(module, names)| *module == self.module && has(names, &self.name))
    }

    /// What the machine makes of it.
    pub(super) fn class(&self) -> Class {
        match (self.module.as_str(), self.name.as_str()) {
            ("collections", "OrderedDict") => Class::Dict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Class::Tensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Class::Parameter,
            ("torch" | "torch.cuda", name) => {
                name.strip_suffix("Storage").and_then(dtype).map_or(Class::Other, Class::Storage)
            }
            _ => Class::Other,
        }
    }
}

/// The globals that have a meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Dict,
    Tensor,
    Parameter,
    Storage(Dtype),
    Other,
}

/// The type of the values in torch's storage of this name.
fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "Double" => Dtype::F64,
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::BOOL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(module: &str, name: &str) -> Global {
        Global { module: module.into(), name: name.into() }
    }

    #[test]
    fn what_runs_code_is_dangerous_and_what_checkpoints_hold_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("subprocess", "Popen"),
            ("sys", "modules"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("builtins", "exec"),
            ("socket", "socket"),
            ("runpy", "run_path"),
            ("webbrowser", "open"),
            ("pty", "spawn"),
            ("importlib.util", "x"),
            ("operator", "attrgetter"),
            ("torch.storage", "_load_from_bytes"),
            ("torch", "os.system"),
            ("torch", "serialization.os.system"),
            ("collections", "OrderedDict.__init__.__globals__"),
        ] {
            assert!(global(module, name).is_dangerous(), "{module} {name}");
        }
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("builtins", "set"),
            ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
            ("numpy.core.multiarray", "scalar"),
            ("pathlib", "PosixPath"),
            ("_codecs", "encode"),
            ("ostrich", "system"),
            ("outer", "Class.Inner"),
        ] {
            assert!(!global(module, name).is_dangerous(), "{module} {name}");
        }
    }
}
