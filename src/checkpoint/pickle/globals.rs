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

/// Modules whose functions run programs or code, change files, use the network, or reach such functions by name. Their
/// submodules count as well. Scanners of pickles have similar lists, [picklescan](https://github.com/mmaitre314/picklescan)
/// for example.
const MODULES: [&str; 49] = [
    "_io",
    "_pickle",
    "_posixsubprocess",
    "_socket",
    "_thread",
    "aiohttp",
    "asyncio",
    "bdb",
    "cProfile",
    "cloudpickle",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "dill",
    "distutils",
    "ensurepip",
    "ftplib",
    "http",
    "httplib",
    "imp",
    "importlib",
    "joblib",
    "lib2to3",
    "marshal",
    "multiprocessing",
    "nt",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "popen2",
    "posix",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "shutil",
    "signal",
    "smtplib",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "timeit",
    "urllib",
    "webbrowser",
];

/// The same for some names of other modules.
const NAMES: [(&str, &[&str]); 13] = [
    ("__builtin__", BUILTINS),
    ("builtins", BUILTINS),
    ("io", &["FileIO", "open", "open_code"]),
    ("functools", &["reduce"]),
    ("numpy", &["load", "fromfile"]),
    ("numpy.testing._private.utils", &["runstring"]),
    ("operator", &["attrgetter", "methodcaller", "call"]),
    ("torch", &["load"]),
    ("torch.hub", &["load", "download_url_to_file", "load_state_dict_from_url"]),
    ("torch.serialization", &["load"]),
    ("torch.storage", &["_load_from_bytes"]),
    ("types", &["CodeType", "FunctionType", "MethodType", "ModuleType"]),
    ("trace", &["Trace"]),
];

const BUILTINS: &[&str] = &[
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "file",
    "getattr",
    "globals",
    "input",
    "locals",
    "open",
    "reload",
    "setattr",
    "vars",
];

impl Global {
    /// Whether a file of weights has no use for it, and Python would do harm if the pickle called it.
    pub fn is_dangerous(&self) -> bool {
        let is_dangerous_module = |module: &str| MODULES.contains(&module);
        let top = self.module.split('.').next().unwrap_or_default();
        // `torch` and `os.system`: the second part of the path is a module too.
        let inner = self.name.rsplit_once('.').is_some_and(|(path, _)| {
            path.split('.').any(|part| is_dangerous_module(part) || part.starts_with("__"))
        });
        let named =
            |(module, names): &(&str, &[&str])| *module == self.module && names.contains(&self.name.as_str());
        is_dangerous_module(top) || inner || NAMES.iter().any(named)
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
