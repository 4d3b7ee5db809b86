//! Class names, in the order that gives each its index.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The classes of a data set: at least one, without duplicates, in bytewise order.
///
/// A class's index is its position here, as Keras's `flow_from_directory` numbers the folders of a data set.
/// Serialised as Keras's `class_indices`: a map from name to index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, usize>", into = "BTreeMap<String, usize>")]
pub struct ClassNames(Vec<String>);

/// Why a list of names cannot be the classes of a data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassNamesError {
    /// There is no name at all.
    #[error("no classes")]
    Empty,
    /// The same name twice.
    #[error("class {0:?} is listed twice")]
    Repeated(String),
    /// An index that is not the name's position in sorted order.
    #[error("class {name:?} has index {found}, but its position in sorted order is {expected}")]
    Index {
        /// The class.
        name: String,
        /// Its position among the sorted names.
        expected: usize,
        /// The index that was given.
        found: usize,
    },
}

impl ClassNames {
    /// Sorts the names.
    ///
    /// # Errors
    /// When there is none, or one is listed twice.
    pub fn new(mut names: Vec<String>) -> Result<Self, ClassNamesError> {
        names.sort_unstable();
        if names.is_empty() {
            return Err(ClassNamesError::Empty);
        }
        for pair in names.windows(2) {
            if pair[0] == pair[1] {
                return Err(ClassNamesError::Repeated(pair[0].clone()));
            }
        }
        Ok(Self(names))
    }

    /// How many classes there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always a class")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of the class with this index.
    pub fn name(&self, label: usize) -> Option<&str> {
        self.0.get(label).map(String::as_str)
    }

    /// The index of the class with this name.
    pub fn label(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|class| class.as_str().cmp(name)).ok()
    }

    /// The names in the order of their indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl TryFrom<BTreeMap<String, usize>> for ClassNames {
    type Error = ClassNamesError;

    fn try_from(indices: BTreeMap<String, usize>) -> Result<Self, ClassNamesError> {
        for (expected, (name, &found)) in indices.iter().enumerate() {
            if found != expected {
                return Err(ClassNamesError::Index { name: name.clone(), expected, found });
            }
        }
        Self::new(indices.into_keys().collect())
    }
}

impl From<ClassNames> for BTreeMap<String, usize> {
    fn from(classes: ClassNames) -> Self {
        classes.0.into_iter().zip(0..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn indices_follow_the_bytewise_order() {
        let classes = ClassNames::new(names(&["t-shirt", "dress", "Zebra"])).unwrap();
        assert_eq!(classes.iter().collect::<Vec<_>>(), ["Zebra", "dress", "t-shirt"]);
        assert_eq!(classes.label("dress"), Some(1));
        assert_eq!(classes.name(2), Some("t-shirt"));
        assert_eq!(classes.name(3), None);
        assert_eq!(classes.label("hat"), None);
    }

    #[test]
    fn no_names_and_repeated_names_are_refused() {
        assert_eq!(ClassNames::new(vec![]), Err(ClassNamesError::Empty));
        assert_eq!(ClassNames::new(names(&["hat", "hat"])), Err(ClassNamesError::Repeated("hat".into())));
    }

    #[test]
    fn serialised_as_class_indices_and_checked_on_the_way_in() {
        let classes = ClassNames::new(names(&["hat", "dress"])).unwrap();
        let json = serde_json::to_string(&classes).unwrap();
        assert_eq!(json, r#"{"dress":0,"hat":1}"#);
        assert_eq!(serde_json::from_str::<ClassNames>(&json).unwrap(), classes);
        for bad in ["{}", r#"{"dress":1,"hat":0}"#, r#"{"dress":0,"hat":2}"#] {
            assert!(serde_json::from_str::<ClassNames>(bad).is_err(), "{bad}");
        }
    }
}
