//! PyTorch's checkpoints (`.ckpt`, `.pt`, `.pth`, `.bin`), which contain a pickle: a program for Python.
//!
//! Python's reader of pickles imports and calls what the file names, and so a checkpoint can run any code. The reader here
//! does not: it understands dicts and tensors, and treats everything else as a value of which nothing is known.
//!
//! | file | what |
//! | --- | --- |
//! | `archive` | the zip container, since PyTorch 1.6 |
//! | `legacy` | the container before |
//! | `machine` | the operations of a pickle |
//! | `input` | their arguments |
//! | `objects` | the values that they make |
//! | [`globals`] | the functions and classes that a pickle names |
//! | `tensors` | the table of tensors |

mod archive;
pub mod globals;
mod input;
mod legacy;
mod machine;
mod objects;
mod tensors;

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek};

use super::Contents;
use super::table::{Table, TableError};

pub use globals::Global;

/// Which of PyTorch's containers a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// A zip file.
    Zip,
    /// Pickles, one after the other.
    Legacy,
}

impl Container {
    /// The container of a file that starts with `bytes`, if it is one of PyTorch's.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'P', b'K', 3, 4, ..] => Some(Self::Zip),
            [0x80, 2..=5, ..] => Some(Self::Legacy),
            _ => None,
        }
    }
}

/// What a file contains.
#[derive(Debug)]
pub struct Pickle {
    /// The functions and classes that it names.
    pub globals: BTreeSet<Global>,
    table: Result<Table, String>,
}

impl Pickle {
    /// Reads all of `file`, of `len` bytes, except the storages.
    ///
    /// # Errors
    /// Those of `file`. A file with a wrong content is not an error here.
    pub fn read(file: impl Read + Seek, len: u64, container: Container) -> io::Result<Self> {
        let mut globals = BTreeSet::new();
        let file = BufReader::new(file);
        let table = match container {
            Container::Zip => archive::read(file, len, &mut globals),
            Container::Legacy => legacy::read(file, len, &mut globals),
        };
        match table {
            Ok(table) => Ok(Self { globals, table: Ok(table) }),
            Err(TableError::Invalid(reason)) => Ok(Self { globals, table: Err(reason) }),
            Err(TableError::Read(e)) => Err(e),
        }
    }

    /// The tensors, whatever else the file contains.
    ///
    /// # Errors
    /// A human-readable reason if the file does not hold a dict of tensors, or is damaged.
    pub fn contents(&self) -> Result<Contents, String> {
        self.table.as_ref().map(Table::contents).map_err(String::clone)
    }

    /// The globals that a file of weights has no use for, and that run code when Python loads the file.
    pub fn dangerous(&self) -> impl Iterator<Item = &Global> {
        self.globals.iter().filter(|global| global.is_dangerous())
    }

    /// The tensors, if no global is dangerous.
    pub(super) fn into_table(self) -> Result<Table, String> {
        if let Some(global) = self.dangerous().next() {
            return Err(format!(
                "it names `{global}`, which can run code when Python loads the file; \
                 do not load it in Python, and get the weights as safetensors"
            ));
        }
        self.table
    }
}
