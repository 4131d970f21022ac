//! A tree as `serde` reads it, in place.
//!
//! Only whether it fits: what does not fit is told by [`super::typed`], which goes over it again with its path.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::emit::{Number, number};
use super::node::{Node, Value};

/// It does not fit.
#[derive(Debug)]
pub(super) struct Unfit;

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("does not fit")
    }
}

impl std::error::Error for Unfit {}

impl Error for Unfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// A value to be read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a>(pub(super) &'a Node);

impl<'de> IntoDeserializer<'de, Unfit> for Reading<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reading<'de> {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Scalar(scalar) => match number(scalar) {
                Some(Number::Signed(value)) => visitor.visit_i64(value),
                Some(Number::Unsigned(value)) => visitor.visit_u64(value),
                Some(Number::Float(value)) => visitor.visit_f64(value),
                None => visitor.visit_borrowed_str(&scalar.text),
            },
            Value::Sequence(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Reading))),
            Value::Mapping(mapping) => {
                visitor.visit_map(MapDeserializer::new(mapping.iter().map(|(key, entry)| (key, Reading(&entry.node)))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    /// A choice is a word, or a mapping with one key (`{hex: 32}`).
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        match &self.0.value {
            Value::Scalar(scalar) if number(scalar).is_none() => visitor.visit_enum(StrDeserializer::<Unfit>::new(&scalar.text)),
            Value::Mapping(mapping) if mapping.len() == 1 => {
                let entries = mapping.iter().map(|(key, entry)| (key, Reading(&entry.node)));
                visitor.visit_enum(serde::de::value::MapAccessDeserializer::new(MapDeserializer::new(entries)))
            }
            Value::Null | Value::Bool(_) | Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => Err(Unfit),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier
    }
}
