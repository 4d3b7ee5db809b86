//! How answers are printed: a table, one JSON object per line, or CSV. Each line is written as soon as its answer is
//! known.

use std::path::Path;

use anyhow::Context;
use classify::answer::{Answer, AnswerOptions, Line, Ranked, UNFAMILIAR, UNSURE};
use classify::by_folder::{Comparison, Misclassified};
use classify::model::AnswerError;
use classify::photos::NamedPhoto;
use csv::{Terminator, WriterBuilder};
use feature_cache::ClassNames;
use head::text::{shown, shown_path, table};
use stdio::{note, output};

/// Paths longer than this push the rest of their line to the right.
const MAX_PATH_WIDTH: usize = 100;

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON object per line.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// Prints answers in a format.
pub enum Output {
    /// Columns for people; `photo` and `answer` are the widths of the first two, in characters.
    Table { photo: usize, answer: usize },
    /// One JSON object per line.
    Json,
    /// Comma-separated values, with this many classes in a line.
    Csv { classes: usize },
}

impl Output {
    /// Prints the header, if the format has one.
    pub fn new(
        format: Format,
        photos: &[NamedPhoto],
        classes: &ClassNames,
        options: AnswerOptions,
    ) -> anyhow::Result<Self> {
        match format {
            Format::Table => {
                let widths = photos.iter().map(|photo| shown_path(&photo.path).chars().count());
                let photo = widths.max().unwrap_or(0).clamp("photo".len(), MAX_PATH_WIDTH);
                let names = classes.iter().chain([UNFAMILIAR, UNSURE]);
                let answer = names.map(|name| name.chars().count()).max().unwrap_or(0);
                output!("{:photo$}  {:answer$}  probability  other classes", "photo", "class")?;
                Ok(Self::Table { photo, answer })
            }
            Format::Json => Ok(Self::Json),
            Format::Csv => {
                let classes = options.top.get().min(classes.len());
                let mut header = vec!["path".to_owned(), "class".to_owned(), "probability".to_owned()];
                for rank in 1..=classes {
                    header.push(format!("class_{rank}"));
                    header.push(format!("probability_{rank}"));
                }
                header.extend(["unfamiliar", "unfamiliarity", "error"].map(str::to_owned));
                output!("{}", csv_line(&header)?)?;
                Ok(Self::Csv { classes })
            }
        }
    }

    /// Prints the answer for a photo, or why there is none.
    pub fn write(&self, photo: &Path, answer: Result<&Answer<'_>, &AnswerError>) -> anyhow::Result<()> {
        match *self {
            Self::Table { photo: photo_width, answer: answer_width } => {
                let photo = shown_path(photo);
                match answer {
                    Ok(answer) => {
                        let TableRow { class, probability, others } = table_row(answer);
                        output!("{photo:photo_width$}  {class:answer_width$}  {probability:>11}  {others}")?;
                    }
                    Err(error) => output!("{photo:photo_width$}  error: {error}")?,
                }
            }
            Self::Json => output!("{}", serde_json::to_string(&Line::new(photo, answer))?)?,
            Self::Csv { classes } => output!("{}", csv_line(&csv_values(photo, answer, classes))?)?,
        }
        Ok(())
    }

    /// Prints how the answers compare with the names of the folders; with CSV it goes to stderr, so that stdout holds
    /// only the table.
    pub fn write_comparison(&self, comparison: &Comparison) -> anyhow::Result<()> {
        match self {
            Self::Table { .. } => output!("\n{}", comparison_text(comparison))?,
            Self::Json => output!("{}", serde_json::to_string(comparison)?)?,
            Self::Csv { .. } => note!("{}", comparison_text(comparison)),
        }
        Ok(())
    }
}

/// The evaluation, and a table of the misclassified photos.
fn comparison_text(comparison: &Comparison) -> String {
    let Comparison { evaluation, wrong, without_class } = comparison;
    let mut text = match evaluation {
        Some(evaluation) => evaluation.text("by folder:"),
        None => "no photo with an answer is in a folder with a class's name".to_owned(),
    };
    if *without_class > 0 && evaluation.is_some() {
        text += &format!("\n\n{without_class} photos are in no class's folder, and do not count");
    }
    if wrong.is_empty() {
        return text;
    }
    let mut rows = Vec::new();
    for Misclassified { path, folder, class, probability, unfamiliar } in wrong {
        let mark = if *unfamiliar == Some(true) { "unfamiliar" } else { "" };
        let columns = [path, folder, class, &format!("{probability:.3}"), mark];
        rows.push(columns.map(str::to_owned).to_vec());
    }
    format!("{text}\n\n{}", table(&["wrong", "folder", "class", "probability", ""], rows))
}

/// The columns of a photo's row in the table.
struct TableRow {
    /// The class, `unfamiliar` or `unsure`.
    class: String,
    /// The probability of the class; `-` without one.
    probability: String,
    /// The other listed classes with their probabilities.
    others: String,
}

/// The row for an answer. An unfamiliar photo, or an unsure one, has no class: its most probable ones are all listed as
/// others.
fn table_row(answer: &Answer<'_>) -> TableRow {
    let (probability, others) = if answer.has_class() {
        (format!("{:.3}", answer.probability), &answer.top[1..])
    } else {
        ("-".to_owned(), &answer.top[..])
    };
    let others: Vec<String> =
        others.iter().map(|Ranked { class, probability }| format!("{} {probability:.3}", shown(class))).collect();
    TableRow { class: shown(answer.folder()), probability, others: others.join(", ") }
}

/// The values of a line of CSV. A photo with an answer has no error, and one without an answer only an error: the other
/// values are empty.
fn csv_values(photo: &Path, answer: Result<&Answer<'_>, &AnswerError>, classes: usize) -> Vec<String> {
    let mut values = vec![photo.to_string_lossy().into_owned()];
    match answer {
        Ok(answer) => {
            values.extend([answer.class.to_owned(), answer.probability.to_string()]);
            for Ranked { class, probability } in &answer.top {
                values.extend([(*class).to_owned(), probability.to_string()]);
            }
            values.push(answer.unfamiliar.map_or_else(String::new, |unfamiliar| unfamiliar.to_string()));
            values.push(answer.unfamiliarity.map_or_else(String::new, |score| score.to_string()));
            values.push(String::new());
        }
        Err(error) => {
            values.resize(1 + 2 + 2 * classes + 2, String::new());
            values.push(error.to_string());
        }
    }
    values
}

/// The values, quoted where they have to be, without the line's end.
fn csv_line(values: &[String]) -> anyhow::Result<String> {
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(values)?;
    let bytes = writer.into_inner().context("CSV")?;
    Ok(String::from_utf8(bytes)?.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of a photo that has one of these two classes, the first with a probability of 0.75.
    fn row(classes: [&str; 2], class: &str, unfamiliar: bool) -> [String; 3] {
        let [first, second] = classes;
        let top = vec![Ranked { class: first, probability: 0.75 }, Ranked { class: second, probability: 0.25 }];
        let answer = Answer { class, probability: 0.75, top, unfamiliar: Some(unfamiliar), unfamiliarity: Some(0.0) };
        let TableRow { class, probability, others } = table_row(&answer);
        [class, probability, others]
    }

    #[test]
    fn a_class_named_unsure_or_unfamiliar_has_a_probability() {
        for name in [UNSURE, UNFAMILIAR] {
            assert_eq!(row([name, "hat"], name, false), [name, "0.750", "hat 0.250"]);
        }
        assert_eq!(row(["hat", "shoe"], "hat", false), ["hat", "0.750", "shoe 0.250"]);
        assert_eq!(row(["hat", "shoe"], UNSURE, false), [UNSURE, "-", "hat 0.750, shoe 0.250"]);
        assert_eq!(row(["hat", "shoe"], "hat", true), [UNFAMILIAR, "-", "hat 0.750, shoe 0.250"]);
    }

    #[test]
    fn no_name_controls_the_terminal() {
        let found = row(["h\x1b[2Jat", "sh\noe"], "h\x1b[2Jat", false);
        assert_eq!(found, ["h\u{fffd}[2Jat", "0.750", "sh\u{fffd}oe 0.250"]);
        let wrong = Misclassified {
            path: "a\nb\x1b]0;c\x07.jpg".to_owned(),
            folder: "h\rat".to_owned(),
            class: "sh\x1boe".to_owned(),
            probability: 0.5,
            unfamiliar: None,
        };
        let comparison = Comparison { evaluation: None, wrong: vec![wrong], without_class: 0 };
        let text = comparison_text(&comparison);
        let row = text.lines().last().unwrap();
        for name in ["a\u{fffd}b\u{fffd}]0;c\u{fffd}.jpg", "h\u{fffd}at", "sh\u{fffd}oe"] {
            assert!(row.contains(name), "{text}");
        }
    }
}
