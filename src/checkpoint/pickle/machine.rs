//! Runs the program that a pickle is, without its effects: nothing is imported and nothing is called.
//!
//! A pickle is a list of operations on a stack, with a memo for values that are used again. The operations that make
//! numbers, texts, tuples, lists and dicts do so here. A call makes a dict or a tensor if it is one of the few in
//! [`Class`], and otherwise a value of which nothing is known. Values are kept in one list and refer to each other by
//! index, so that a shared value takes no more memory however often it is used, and no operation is recursive.
//!
//! The operations and their arguments are those of Python's module `pickletools`.

use std::collections::{BTreeSet, HashMap};
use std::io::BufRead;

use crate::checkpoint::table::TableError;

use super::globals::{Class, Global};
use super::input::Input;
use super::objects::{Id, Object, Objects, Storage, Tensor};

/// The most operations. A tensor takes about 50.
const MAX_OPERATIONS: usize = 2_000_000;
/// The most different functions and classes.
const MAX_GLOBALS: usize = 10_000;

type Result<T> = std::result::Result<T, TableError>;

/// Reads pickles from `input`, one after the other.
pub struct Machine<'a, R> {
    input: Input<R>,
    pub objects: Objects,
    stack: Vec<Id>,
    /// The heights of the stack at the marks. Nothing below the last one is taken from the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    operations: usize,
    globals: &'a mut BTreeSet<Global>,
}

impl<'a, R: BufRead> Machine<'a, R> {
    /// `globals` receives the functions and classes that the pickles name.
    pub fn new(input: R, globals: &'a mut BTreeSet<Global>) -> Self {
        Self {
            input: Input::new(input),
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
            match self.input.byte()? {
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
            b'J' => Object::Int(i32::from_le_bytes(self.input.array()?).into()), // BININT
            b'K' => Object::Int(self.input.byte()?.into()), // BININT1
            b'M' => Object::Int(u16::from_le_bytes(self.input.array()?).into()), // BININT2
            b'I' | b'L' => self.input.decimal()?, // INT, LONG
            0x8a => self.input.long::<1>()?, // LONG1
            0x8b => self.input.long::<4>()?, // LONG4
            b'G' => self.input.float()?, // BINFLOAT
            b'F' => self.input.line().map(|_| Object::Opaque)?, // FLOAT
            // Texts, and bytes, which are not kept.
            b'X' | b'T' => self.input.text::<4>()?, // BINUNICODE, BINSTRING
            0x8c | b'U' => self.input.text::<1>()?, // SHORT_BINUNICODE, SHORT_BINSTRING
            0x8d => self.input.text::<8>()?,        // BINUNICODE8
            b'V' | b'S' => self.input.string()?,    // UNICODE, STRING
            b'B' => self.input.bytes::<4>()?,       // BINBYTES
            b'C' => self.input.bytes::<1>()?,       // SHORT_BINBYTES
            0x8e | 0x96 => self.input.bytes::<8>()?, // BINBYTES8, BYTEARRAY8
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
            b'P' => self.input.line().map(|_| Object::Opaque)?,                // PERSID
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
            b'h' => self.input.length::<1>().and_then(|index| self.get(index))?, // BINGET
            b'j' => self.input.length::<4>().and_then(|index| self.get(index))?, // LONG_BINGET
            b'g' => self.input.index().and_then(|index| self.get(index))?, // GET
            b'q' => self.input.length::<1>().and_then(|index| self.put(index))?, // BINPUT
            b'r' => self.input.length::<4>().and_then(|index| self.put(index))?, // LONG_BINPUT
            b'p' => self.input.index().and_then(|index| self.put(index))?, // PUT
            0x94 => self.put(self.memo.len() as u64)?, // MEMOIZE
            b'a' => self.pop().and_then(|item| self.append(&[item]))?, // APPEND
            b'e' => self.pop_mark().and_then(|items| self.append(&items))?, // APPENDS
            b's' => self.pop_two().and_then(|item| self.set(&item))?, // SETITEM
            b'u' => self.pop_mark().and_then(|items| self.set(&items))?, // SETITEMS
            0x90 => drop(self.pop_mark()?),            // ADDITEMS
            b'b' => drop(self.pop()?),                 // BUILD, which sets attributes
            b'R' | 0x81 => self.call()?,               // REDUCE, NEWOBJ
            0x80 => drop(self.input.byte()?),          // PROTO
            0x95 => drop(self.input.array::<8>()?),    // FRAME
            other => return invalid(format!("its pickle has the operation {other:#04x}, which is not read")),
        }
        Ok(())
    }

    // The stack and the memo.

    fn push(&mut self, object: Object) {
        let id = self.objects.add(object);
        self.stack.push(id);
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
        if let Object::List(list) = self.objects.get_mut(list) {
            list.extend(items);
        }
        Ok(())
    }

    /// Sets keys of the topmost value, if it is a dict.
    fn set(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        let items = pairs(items)?;
        if let Object::Dict(dict) = self.objects.get_mut(dict) {
            dict.extend(items);
        }
        Ok(())
    }

    fn global(&mut self) -> Result<Object> {
        let (module, name) = (self.input.line()?, self.input.line()?);
        self.named(module.into(), name.into())
    }

    fn stack_global(&mut self) -> Result<Object> {
        let [module, name] = self.pop_two()?;
        match (self.objects.text(module), self.objects.text(name)) {
            (Some(module), Some(name)) => self.named(module.into(), name.into()),
            _ => invalid("its pickle names a function by something that is not a text".into()),
        }
    }

    fn named(&mut self, module: String, name: String) -> Result<Object> {
        let global = Global { module, name };
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
            // Then come whether it needs a gradient, hooks, and a dict with bits that change the meaning of the values.
            (Class::Tensor, &[_, _, _, _, _, _, bits, ..]) if matches!(&self.objects[bits], Object::Dict(bits) if !bits.is_empty()) =>
            {
                return invalid(
                    "a tensor is stored with a negative or conjugate bit; save a copy of it (`tensor.resolve_neg()`)"
                        .into(),
                );
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

fn too_few() -> TableError {
    TableError::Invalid("its pickle takes more from the stack than is there".into())
}

fn invalid<T>(reason: String) -> Result<T> {
    Err(TableError::Invalid(reason))
}
