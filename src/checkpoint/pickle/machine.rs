//! Runs the program that a pickle is, without its effects: nothing is imported and nothing is called.
//!
//! A pickle is a list of operations on a stack, with a memo for values that are used again. The operations that make
//! numbers, texts, tuples, lists and dicts do so here. A call makes a dict or a tensor if it is one of the few in
//! [`Class`], and otherwise a value of which nothing is known. Values are kept in one list and refer to each other by
//! index, so that a shared value takes no more memory however often it is used, and no operation is recursive.
//!
//! The operations and their arguments are those of Python's module `pickletools`.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead, Read, Take};
use std::ops::Index;

use safetensors::tensor::Dtype;

use crate::checkpoint::table::TableError;

use super::globals::{Class, Global};

/// The longest pickle, in bytes. That of a whole checkpoint has less than one megabyte.
pub const MAX_BYTES: u64 = 32 << 20;
/// The most operations. A tensor takes about 50.
const MAX_OPERATIONS: usize = 2_000_000;
/// The most different functions and classes.
const MAX_GLOBALS: usize = 10_000;
/// The longest text in bytes. Longer ones are not kept.
const MAX_TEXT: u64 = 4096;
/// The number with which the older of PyTorch's formats begins, 0x1950a86a20f9469cfc6c.
pub const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The index of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u32);

/// A value that a pickle describes.
#[derive(Debug)]
pub enum Object {
    None,
    Bool(bool),
    Int(i64),
    Magic,
    Text(Box<str>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Keys and values, in the order in which they were set.
    Dict(Vec<(Id, Id)>),
    Class(Class),
    Storage(Storage),
    Tensor(Tensor),
    /// Anything else.
    Opaque,
}

/// A reference to the memory of tensors. The key is a text.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    pub dtype: Dtype,
    pub key: Id,
    pub count: i64,
}

/// A view of a storage. Shape and strides are tuples, whose items are not checked.
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    pub storage: Storage,
    pub offset: Id,
    pub shape: Id,
    pub strides: Id,
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub struct Objects(Vec<Object>);

impl Index<Id> for Objects {
    type Output = Object;

    fn index(&self, id: Id) -> &Object {
        &self.0[id.0 as usize]
    }
}

impl Objects {
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter()
    }

    /// The value of a text.
    pub fn text(&self, id: Id) -> Option<&str> {
        if let Object::Text(text) = &self[id] { Some(text) } else { None }
    }

    /// The value of a number.
    pub fn int(&self, id: Id) -> Option<i64> {
        if let Object::Int(value) = self[id] { Some(value) } else { None }
    }
}

/// Reads pickles from `input`, one after the other.
pub struct Machine<'a, R> {
    input: Take<R>,
    pub objects: Objects,
    stack: Vec<Id>,
    /// The heights of the stack at the marks. Nothing below the last one is taken from the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    operations: usize,
    globals: &'a mut BTreeSet<Global>,
}

type Result<T> = std::result::Result<T, TableError>;

impl<'a, R: BufRead> Machine<'a, R> {
    /// `globals` receives the functions and classes that the pickles name.
    pub fn new(input: R, globals: &'a mut BTreeSet<Global>) -> Self {
        Self {
            input: input.take(MAX_BYTES),
            objects: Objects::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            operations: 0,
            globals,
        }
    }

    /// Returns the input, at the end of the last pickle, and the values.
    pub fn finish(self) -> (R, Objects) {
        (self.input.into_inner(), self.objects)
    }

    /// Runs the next pickle. Returns its value.
    pub fn load(&mut self) -> Result<Id> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            self.operations += 1;
            if self.operations > MAX_OPERATIONS {
                return invalid(format!("its pickle has more than {MAX_OPERATIONS} operations"));
            }
            match self.byte()? {
                b'.' => return self.pop(), // STOP
                operation => self.step(operation)?,
            }
        }
    }

    /// Runs an operation that pushes a new value.
    fn step(&mut self, operation: u8) -> Result<()> {
        let object = match operation {
            // None, truth values and numbers.
            b'N' => Object::None,
            0x88 => Object::Bool(true),  // NEWTRUE
            0x89 => Object::Bool(false), // NEWFALSE
            b'J' => Object::Int(i32::from_le_bytes(self.array()?).into()), // BININT
            b'K' => Object::Int(self.byte()?.into()), // BININT1
            b'M' => Object::Int(u16::from_le_bytes(self.array()?).into()), // BININT2
            b'I' | b'L' => decimal(&self.line()?), // INT, LONG
            0x8a => self.length::<1>().and_then(|length| self.long(length))?, // LONG1
            0x8b => self.length::<4>().and_then(|length| self.long(length))?, // LONG4
            b'G' => self.skip(8)?,       // BINFLOAT
            b'F' => self.line().map(|_| Object::Opaque)?, // FLOAT
            // Texts, and bytes, which are not kept.
            b'X' | b'T' => self.length::<4>().and_then(|length| self.text(length))?, // BINUNICODE, BINSTRING
            0x8c | b'U' => self.length::<1>().and_then(|length| self.text(length))?, // SHORT_BINUNICODE, SHORT_BINSTRING
            0x8d => self.length::<8>().and_then(|length| self.text(length))?,        // BINUNICODE8
            b'V' | b'S' => Object::Text(self.line()?),                               // UNICODE, STRING
            b'B' => self.length::<4>().and_then(|length| self.skip(length))?,        // BINBYTES
            b'C' => self.length::<1>().and_then(|length| self.skip(length))?,        // SHORT_BINBYTES
            0x8e | 0x96 => self.length::<8>().and_then(|length| self.skip(length))?, // BINBYTES8, BYTEARRAY8
            // Tuples, lists, dicts and sets.
            b')' => Object::Tuple(Vec::new()), // EMPTY_TUPLE
            0x85..=0x87 => self.short_tuple(operation - 0x84)?, // TUPLE1, TUPLE2, TUPLE3
            b't' => Object::Tuple(self.pop_mark()?), // TUPLE
            b']' => Object::List(Vec::new()),  // EMPTY_LIST
            b'l' => Object::List(self.pop_mark()?), // LIST
            b'}' => Object::Dict(Vec::new()),  // EMPTY_DICT
            b'd' => Object::Dict(pairs(&self.pop_mark()?)?), // DICT
            0x8f => Object::Opaque,            // EMPTY_SET
            0x91 => self.pop_mark().map(|_| Object::Opaque)?, // FROZENSET
            // Functions, classes, and what is made with them.
            b'c' => self.global()?,                                            // GLOBAL
            0x93 => self.stack_global()?,                                      // STACK_GLOBAL
            b'i' => (self.global()?, self.pop_mark()?, Object::Opaque).2,      // INST
            b'o' => self.pop_mark().map(|_| Object::Opaque)?,                  // OBJ
            0x92 => (self.pop()?, self.pop()?, self.pop()?, Object::Opaque).3, // NEWOBJ_EX
            b'P' => self.line().map(|_| Object::Opaque)?,                      // PERSID
            b'Q' => self.persistent()?,                                        // BINPERSID
            _ => return self.arrange(operation),
        };
        self.push(object);
        Ok(())
    }

    /// Runs an operation that changes a value, the stack or the memo.
    fn arrange(&mut self, operation: u8) -> Result<()> {
        match operation {
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()), // POP
            b'0' => drop(self.pop()?),                 // POP
            b'1' => drop(self.pop_mark()?),            // POP_MARK
            b'2' => self.top().map(|id| self.stack.push(id))?, // DUP
            b'h' => self.length::<1>().and_then(|index| self.get(index))?, // BINGET
            b'j' => self.length::<4>().and_then(|index| self.get(index))?, // LONG_BINGET
            b'g' => self.index().and_then(|index| self.get(index))?, // GET
            b'q' => self.length::<1>().and_then(|index| self.put(index))?, // BINPUT
            b'r' => self.length::<4>().and_then(|index| self.put(index))?, // LONG_BINPUT
            b'p' => self.index().and_then(|index| self.put(index))?, // PUT
            0x94 => self.put(self.memo.len() as u64)?, // MEMOIZE
            b'a' => self.pop().and_then(|item| self.append(&[item]))?, // APPEND
            b'e' => self.pop_mark().and_then(|items| self.append(&items))?, // APPENDS
            b's' => self.pop_two().and_then(|item| self.set(&item))?, // SETITEM
            b'u' => self.pop_mark().and_then(|items| self.set(&items))?, // SETITEMS
            0x90 => drop(self.pop_mark()?),            // ADDITEMS
            b'b' => drop(self.pop()?),                 // BUILD, which sets attributes
            b'R' | 0x81 => self.call()?,               // REDUCE, NEWOBJ
            0x80 => drop(self.byte()?),                // PROTO
            0x95 => drop(self.array::<8>()?),          // FRAME
            other => return invalid(format!("its pickle has the operation {other:#04x}, which is not read")),
        }
        Ok(())
    }

    // Arguments in the input.

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.input.read_exact(bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.cut_off()),
            result => result.map_err(TableError::Read),
        }
    }

    fn cut_off(&self) -> TableError {
        TableError::Invalid(match self.input.limit() {
            0 => format!("its pickle is longer than {} MiB", MAX_BYTES >> 20),
            _ => "its pickle is cut off; the file may be incomplete, download it again".into(),
        })
    }

    fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes).map(|()| bytes)
    }

    /// A number of `N` bytes without sign.
    fn length<const N: usize>(&mut self) -> Result<u64> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Result<Box<str>> {
        let mut line = Vec::new();
        (&mut self.input).take(MAX_TEXT).read_until(b'\n', &mut line).map_err(TableError::Read)?;
        match line.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&line).into()),
            Some(_) if line.len() as u64 == MAX_TEXT - 1 => {
                invalid(format!("its pickle has a line of more than {MAX_TEXT} bytes"))
            }
            _ => Err(self.cut_off()),
        }
    }

    /// The index into the memo that a line contains.
    fn index(&mut self) -> Result<u64> {
        let line = self.line()?;
        line.parse().or_else(|_| invalid(format!("its pickle has `{line}` where it needs an index")))
    }

    /// A number of `length` bytes with sign, if it has no more than 64 bits.
    fn long(&mut self, length: u64) -> Result<Object> {
        if length > MAGIC.len() as u64 {
            return self.skip(length);
        }
        let mut bytes = vec![0; length as usize];
        self.read(&mut bytes)?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        Ok(match bytes.len() {
            0..=8 => {
                bytes.resize(8, sign);
                Object::Int(bytes.iter().rev().fold(0, |number, &byte| number << 8 | i64::from(byte)))
            }
            _ if bytes == MAGIC => Object::Magic,
            _ => Object::Opaque,
        })
    }

    /// A text of `length` bytes, if it is not too long to be kept.
    fn text(&mut self, length: u64) -> Result<Object> {
        if length > MAX_TEXT {
            return self.skip(length);
        }
        let mut bytes = vec![0; length as usize];
        self.read(&mut bytes)?;
        Ok(Object::Text(String::from_utf8_lossy(&bytes).into()))
    }

    /// A value of `length` bytes that is not kept.
    fn skip(&mut self, length: u64) -> Result<Object> {
        let copied = io::copy(&mut (&mut self.input).take(length), &mut io::sink());
        match copied.map_err(TableError::Read)? {
            skipped if skipped == length => Ok(Object::Opaque),
            _ => Err(self.cut_off()),
        }
    }

    // The stack and the memo.

    fn push(&mut self, object: Object) {
        self.stack.push(Id(self.objects.0.len() as u32));
        self.objects.0.push(object);
    }

    fn top(&self) -> Result<Id> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        self.stack[bottom..].last().copied().ok_or_else(too_few)
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The two topmost values, from below.
    fn pop_two(&mut self) -> Result<[Id; 2]> {
        let second = self.pop()?;
        Ok([self.pop()?, second])
    }

    /// The values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(too_few)?;
        Ok(self.stack.split_off(mark))
    }

    fn get(&mut self, index: u64) -> Result<()> {
        let id = u32::try_from(index).ok().and_then(|index| self.memo.get(&index));
        let Some(&id) = id else {
            return invalid(format!("its pickle uses value {index} before it is there"));
        };
        self.stack.push(id);
        Ok(())
    }

    fn put(&mut self, index: u64) -> Result<()> {
        let Ok(index) = index.try_into() else { return invalid(format!("its pickle has a value {index}")) };
        self.memo.insert(index, self.top()?);
        Ok(())
    }

    // Values that are made of others.

    fn short_tuple(&mut self, count: u8) -> Result<Object> {
        let mut items: Vec<Id> = (0..count).map(|_| self.pop()).collect::<Result<_>>()?;
        items.reverse();
        Ok(Object::Tuple(items))
    }

    /// Appends to the topmost value, if it is a list.
    fn append(&mut self, items: &[Id]) -> Result<()> {
        let list = self.top()?;
        if let Object::List(list) = &mut self.objects.0[list.0 as usize] {
            list.extend(items);
        }
        Ok(())
    }

    /// Sets keys of the topmost value, if it is a dict.
    fn set(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        let items = pairs(items)?;
        if let Object::Dict(dict) = &mut self.objects.0[dict.0 as usize] {
            dict.extend(items);
        }
        Ok(())
    }

    fn global(&mut self) -> Result<Object> {
        let (module, name) = (self.line()?, self.line()?);
        self.named(&module, &name)
    }

    fn stack_global(&mut self) -> Result<Object> {
        let [module, name] = self.pop_two()?;
        match (self.objects.text(module).map(str::to_string), self.objects.text(name).map(str::to_string)) {
            (Some(module), Some(name)) => self.named(&module, &name),
            _ => invalid("its pickle names a function by something that is not a text".into()),
        }
    }

    fn named(&mut self, module: &str, name: &str) -> Result<Object> {
        let global = Global { module: module.into(), name: name.into() };
        let class = global.class();
        self.globals.insert(global);
        if self.globals.len() > MAX_GLOBALS {
            return invalid(format!("its pickle names more than {MAX_GLOBALS} functions and classes"));
        }
        Ok(Object::Class(class))
    }

    /// Replaces a function and its arguments by what the call would give. The function is not called.
    fn call(&mut self) -> Result<()> {
        let [function, arguments] = self.pop_two()?;
        let (Object::Class(class), Object::Tuple(arguments)) =
            (&self.objects[function], &self.objects[arguments])
        else {
            self.push(Object::Opaque);
            return Ok(());
        };
        let object = match (class, arguments.as_slice()) {
            (Class::Dict, []) => Object::Dict(Vec::new()),
            (Class::Parameter, &[tensor, ..]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            (Class::Tensor, &[storage, offset, shape, strides, ..]) => match self.objects[storage] {
                Object::Storage(storage) => Object::Tensor(Tensor { storage, offset, shape, strides }),
                _ => Object::Opaque,
            },
            _ => Object::Opaque,
        };
        self.push(object);
        Ok(())
    }

    /// The storage that a tuple describes: `("storage", class, key, place, number of values)`. In the older format, a sixth
    /// item follows, which is `None` unless PyTorch before 0.4 wrote the file.
    fn persistent(&mut self) -> Result<Object> {
        let id = self.pop()?;
        let Object::Tuple(items) = &self.objects[id] else { return Ok(Object::Opaque) };
        let &[kind, class, key, _, count, ref rest @ ..] = items.as_slice() else {
            return Ok(Object::Opaque);
        };
        let (kind, count) = (self.objects.text(kind), self.objects.int(count));
        match (kind, &self.objects[class], self.objects.text(key), count) {
            (Some("storage"), &Object::Class(Class::Storage(dtype)), Some(_), Some(count)) => match rest {
                [view, ..] if !matches!(self.objects[*view], Object::None) => invalid(
                    "it has views of storages, as PyTorch before 0.4 wrote them; save it again".into(),
                ),
                _ => Ok(Object::Storage(Storage { dtype, key, count })),
            },
            _ => Ok(Object::Opaque),
        }
    }
}

/// Keys and values.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => invalid("its pickle has a key without a value".into()),
    }
}

/// The number or truth value of a line.
fn decimal(line: &str) -> Object {
    match line {
        "00" | "01" => Object::Bool(line == "01"),
        _ => line.trim_end_matches('L').parse().map_or(Object::Opaque, Object::Int),
    }
}

fn too_few() -> TableError {
    TableError::Invalid("its pickle takes more from the stack than is there".into())
}

fn invalid<T>(reason: String) -> Result<T> {
    Err(TableError::Invalid(reason))
}
