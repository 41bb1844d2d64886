//! The values that a pickle describes. They are in one list and refer to each other by index.

use std::ops::Index;

use safetensors::tensor::Dtype;

use super::globals::Class;

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
    /// Adds a value.
    pub fn add(&mut self, object: Object) -> Id {
        self.0.push(object);
        Id(self.0.len() as u32 - 1)
    }

    /// A value, to change it.
    pub fn get_mut(&mut self, id: Id) -> &mut Object {
        &mut self.0[id.0 as usize]
    }

    /// All values.
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
