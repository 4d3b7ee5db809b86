//! The confusion matrix: how many rows of each class are predicted as each class.
//!
//! Only cells that are not zero are stored: there are at most as many as photos, where a dense matrix of 10,000 classes
//! has 100 million. In JSON the matrix is a list of lists, by class and predicted class, up to [`MAX_DENSE`] classes;
//! with more it is `{"classes": n, "cells": [[class, predicted class, rows], …]}`. Both forms can be read with any
//! number of classes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// With more classes than this, JSON has only the cells that are not zero.
pub const MAX_DENSE: usize = 100;

/// Rows by their class and the class that is predicted for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Json", into = "Json")]
pub struct Confusion {
    classes: usize,
    /// By (class, predicted class); no value is 0.
    cells: BTreeMap<(usize, usize), usize>,
}

/// A cell that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The true class.
    pub class: usize,
    /// The predicted class.
    pub predicted: usize,
    /// Number of rows.
    pub rows: usize,
}

/// Why rows cannot be added to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfusionError {
    /// A cell outside the matrix.
    #[error("a confusion matrix of {classes} classes has no cell for class {class} predicted as {predicted}")]
    NoSuchCell {
        /// The number of classes.
        classes: usize,
        /// The class.
        class: usize,
        /// The predicted class.
        predicted: usize,
    },
    /// A list of numbers that does not have one for each class.
    #[error("a confusion matrix of {classes} classes has {found} numbers for class {class}")]
    NotSquare {
        /// The number of classes.
        classes: usize,
        /// The class.
        class: usize,
        /// How many numbers its list has.
        found: usize,
    },
    /// The number of rows overflows.
    #[error("a confusion matrix has more than {} rows of class {class} predicted as {predicted}", usize::MAX)]
    TooManyRows {
        /// The class.
        class: usize,
        /// The predicted class.
        predicted: usize,
    },
}

/// The forms in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    Dense(Vec<Vec<usize>>),
    Sparse { classes: usize, cells: Vec<(usize, usize, usize)> },
}

impl Confusion {
    /// An empty matrix.
    pub fn new(classes: usize) -> Self {
        Self { classes, cells: BTreeMap::new() }
    }

    /// Adds the cell's rows to those that it already has.
    ///
    /// # Errors
    /// When there is no such class, or the number of rows does not fit into a `usize`.
    pub fn add(&mut self, cell: Cell) -> Result<(), ConfusionError> {
        let Cell { class, predicted, rows } = cell;
        if class >= self.classes || predicted >= self.classes {
            return Err(ConfusionError::NoSuchCell { classes: self.classes, class, predicted });
        }
        let before = self.rows(class, predicted);
        let rows = before.checked_add(rows).ok_or(ConfusionError::TooManyRows { class, predicted })?;
        if rows > 0 {
            self.cells.insert((class, predicted), rows);
        }
        Ok(())
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many rows of `class` are predicted as `predicted`.
    pub fn rows(&self, class: usize, predicted: usize) -> usize {
        self.cells.get(&(class, predicted)).copied().unwrap_or(0)
    }

    /// The cells that are not zero, by class, then by predicted class.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        self.cells.iter().map(|(&(class, predicted), &rows)| Cell { class, predicted, rows })
    }

    /// The cells off the diagonal, by descending number of rows.
    pub fn mistakes(&self) -> Vec<Cell> {
        let mut mistakes: Vec<Cell> = self.cells().filter(|cell| cell.class != cell.predicted).collect();
        mistakes.sort_by_key(|cell| Reverse(cell.rows));
        mistakes
    }
}

impl TryFrom<Json> for Confusion {
    type Error = ConfusionError;

    fn try_from(json: Json) -> Result<Self, ConfusionError> {
        let mut confusion;
        match json {
            Json::Dense(matrix) => {
                let classes = matrix.len();
                confusion = Self::new(classes);
                for (class, counts) in matrix.iter().enumerate() {
                    if counts.len() != classes {
                        return Err(ConfusionError::NotSquare { classes, class, found: counts.len() });
                    }
                    for (predicted, &rows) in counts.iter().enumerate() {
                        confusion.add(Cell { class, predicted, rows })?;
                    }
                }
            }
            Json::Sparse { classes, cells } => {
                confusion = Self::new(classes);
                for (class, predicted, rows) in cells {
                    confusion.add(Cell { class, predicted, rows })?;
                }
            }
        }
        Ok(confusion)
    }
}

impl From<Confusion> for Json {
    fn from(confusion: Confusion) -> Self {
        let classes = confusion.classes;
        if classes > MAX_DENSE {
            let cells = confusion.cells().map(|cell| (cell.class, cell.predicted, cell.rows)).collect();
            return Self::Sparse { classes, cells };
        }
        let mut matrix = vec![vec![0; classes]; classes];
        for cell in confusion.cells() {
            matrix[cell.class][cell.predicted] = cell.rows;
        }
        Self::Dense(matrix)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn confusion(classes: usize) -> Confusion {
        let mut confusion = Confusion::new(classes);
        for (class, predicted, rows) in [(0, 0, 5), (0, 1, 1), (2, 1, 3), (1, 1, 0)] {
            confusion.add(Cell { class, predicted, rows }).unwrap();
        }
        confusion
    }

    #[test]
    fn few_classes_are_lists_in_json_and_many_are_cells() {
        let few = serde_json::to_value(confusion(3)).unwrap();
        assert_eq!(few, json!([[5, 1, 0], [0, 0, 0], [0, 3, 0]]));
        let many = serde_json::to_value(confusion(10_000)).unwrap();
        assert_eq!(many, json!({"classes": 10_000, "cells": [[0, 0, 5], [0, 1, 1], [2, 1, 3]]}));
        for classes in [3, MAX_DENSE, MAX_DENSE + 1, 10_000] {
            let json = serde_json::to_string(&confusion(classes)).unwrap();
            assert_eq!(serde_json::from_str::<Confusion>(&json).unwrap(), confusion(classes));
        }
    }

    /// Version 0.1.0 wrote them.
    #[test]
    fn lists_of_many_classes_can_be_read() {
        let mut lists = vec![vec![0; 1000]; 1000];
        (lists[0][0], lists[0][1], lists[2][1]) = (5, 1, 3);
        let read: Confusion = serde_json::from_value(json!(lists)).unwrap();
        assert_eq!(read, confusion(1000));
    }

    #[test]
    fn cells_outside_the_matrix_are_errors() {
        let read = |json: Value| serde_json::from_value::<Confusion>(json).map_err(|error| error.to_string());
        let beyond = "a confusion matrix of 2 classes has no cell for class 0 predicted as 2";
        for (list, found) in [(json!([0, 0, 1]), 3), (json!([5]), 1)] {
            let error = format!("a confusion matrix of 2 classes has {found} numbers for class 0");
            assert_eq!(read(json!([list, [0, 0]])), Err(error));
        }
        assert_eq!(read(json!({"classes": 2, "cells": [[0, 2, 1]]})), Err(beyond.to_owned()));
        assert!(read(json!({"classes": 2})).is_err());
    }

    #[test]
    fn the_most_frequent_mistakes_come_first() {
        let mistakes = confusion(3).mistakes();
        assert_eq!(mistakes, [Cell { class: 2, predicted: 1, rows: 3 }, Cell { class: 0, predicted: 1, rows: 1 }]);
        assert_eq!((confusion(3).rows(2, 1), confusion(3).rows(1, 2)), (3, 0));
    }
}
