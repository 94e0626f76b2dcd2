//! JSON that is written piece by piece, its fields in the order in which they were put.

use std::fmt::{self, Write};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// Words.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object; its fields keep their order.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// An object.
    pub fn object<K: Into<String>>(fields: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// An array.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<$type> for Json {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, u16 => Int, f64 => Float, &str => Text, String => Text);

/// What does not fit Java's `long` is told as the largest of those.
impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl<T: Into<Self>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The text of it (RFC 8259), on one line.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) if value.is_finite() => write!(f, "{value:?}"),
            Self::Float(_) => f.write_str("null"),
            Self::Text(text) => quote(text, f),
            Self::List(items) => {
                f.write_char('[')?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Object(fields) => {
                f.write_char('{')?;
                for (i, (key, value)) in fields.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    quote(key, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\0'..='\x1f' => write!(f, "\\u{:04x}", c as u32)?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Batches of bounded size, made when they are asked for.
pub type Batches<T> = Box<dyn Iterator<Item = Vec<T>> + Send>;

/// A text, piece by piece.
pub type Pieces = Box<dyn Iterator<Item = String> + Send>;

/// The value of a field of a [`Document`].
pub enum Part {
    /// As it is.
    Value(Json),
    /// An array that may be long.
    List(Batches<Json>),
    /// An object that may be long.
    Object(Batches<(String, Json)>),
}

/// An object whose parts may be too long to be made at once.
#[derive(Default)]
pub struct Document(Vec<(String, Part)>);

impl Document {
    /// Appends a field.
    #[must_use]
    pub fn with(self, key: &str, value: impl Into<Json>) -> Self {
        self.with_part(key, Part::Value(value.into()))
    }

    /// Appends a field that may be long.
    #[must_use]
    pub fn with_part(mut self, key: &str, part: Part) -> Self {
        self.0.push((key.to_owned(), part));
        self
    }

    /// Appends the fields of an object; of anything else, nothing.
    #[must_use]
    pub fn with_all(self, object: Json) -> Self {
        let Json::Object(fields) = object else { return self };
        fields.into_iter().fold(self, |document, (key, value)| document.with(&key, value))
    }

    /// The text: each field on a line of its own.
    pub fn pieces(self) -> Pieces {
        let mut first = true;
        let fields = self.0.into_iter().flat_map(move |(key, part)| {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            let opening = format!("{comma}\n  {} : ", Json::Text(key));
            part.pieces(opening)
        });
        let ends = |text: &str| std::iter::once(text.to_owned());
        Box::new(ends("{").chain(fields).chain(ends("\n}\n")))
    }
}

impl Part {
    fn pieces(self, opening: String) -> Pieces {
        match self {
            Self::Value(value) => Box::new(std::iter::once(format!("{opening}{value}"))),
            Self::List(batches) => enclose(opening, ["[ ", " ]"], batches, |item| item.to_string()),
            Self::Object(batches) => enclose(opening, ["{ ", " }"], batches, |(key, value)| {
                format!("{} : {value}", Json::Text(key))
            }),
        }
    }
}

fn enclose<T: 'static>(
    opening: String,
    [open, close]: [&'static str; 2],
    batches: Batches<T>,
    text: fn(T) -> String,
) -> Pieces {
    let mut first = true;
    let items = batches.map(move |batch| {
        let mut piece = String::new();
        for item in batch {
            if !std::mem::take(&mut first) {
                piece.push_str(", ");
            }
            piece.push_str(&text(item));
        }
        piece
    });
    Box::new(std::iter::once(opening + open).chain(items).chain(std::iter::once(close.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_parts_are_whole_in_the_end() {
        let batches = |sizes: &'static [i64]| sizes.iter().map(|size| (0..*size).collect::<Vec<_>>());
        let list = batches(&[2, 0, 1]).map(|batch| batch.into_iter().map(Json::Int).collect());
        let object = batches(&[1]).map(|batch| vec![(format!("/\"{batch:?}"), Json::Null)]);
        let text: String = Document::default()
            .with("a", 1)
            .with_part("b", Part::List(Box::new(list)))
            .with_part("c", Part::Object(Box::new(object)))
            .with_part("d", Part::List(Box::new(std::iter::empty())))
            .with_all(Json::object([("e", Json::from(0.5)), ("f", Json::from(None::<bool>))]))
            .pieces()
            .collect();
        assert_eq!(
            text,
            "{\n  \"a\" : 1,\n  \"b\" : [ 0, 1, 0 ],\n  \"c\" : { \"/\\\"[0]\" : null },\n  \"d\" : [  ],\n  \
             \"e\" : 0.5,\n  \"f\" : null\n}\n"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn any_text_comes_through() {
        let text: String = (0..0x3000).filter_map(char::from_u32).chain(['\u{1f980}']).collect();
        let json =
            Json::list([Json::object([(text.clone(), Json::Text(text.clone()))]), Json::Float(f64::NAN)]);
        let read: serde_json::Value = serde_json::from_str(&json.to_string()).unwrap();
        assert_eq!(read[0][&text], text);
        assert!(read[1].is_null());
    }

    #[test]
    fn numbers_come_through() {
        for number in [0.5, -1e300, 3.0, 1e-7] {
            let read: f64 = serde_json::from_str(&Json::Float(number).to_string()).unwrap();
            assert_eq!(read, number);
        }
        assert_eq!(Json::from(u64::MAX).to_string(), i64::MAX.to_string());
    }
}
