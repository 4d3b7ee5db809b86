//! `--shard I/N`, or `auto`: the number that Slurm or Kubernetes gave to this task.

use std::num::NonZeroUsize;

use feature_cache::Shard;

/// Parses the option's value.
pub fn parse(value: &str) -> Result<Shard, String> {
    match value {
        "auto" => from_environment(|name| std::env::var(name).ok()),
        _ => value.parse().map_err(|error: feature_cache::ShardError| error.to_string()),
    }
}

/// The shard of this task of a Slurm job array, or of this pod of a Kubernetes Indexed Job.
fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let number = |name: &str| -> Result<usize, String> {
        let text = variable(name).ok_or_else(|| format!("{name} is not set"))?;
        text.parse().map_err(|_| format!("{name}: expected a number, found {text:?}"))
    };
    let (index, count) = match (variable("SLURM_ARRAY_TASK_ID"), variable("JOB_COMPLETION_INDEX")) {
        (Some(_), Some(_)) => return Err("both SLURM_ARRAY_TASK_ID and JOB_COMPLETION_INDEX are set".to_owned()),
        (None, None) => return Err("neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set".to_owned()),
        (None, Some(_)) => (number("JOB_COMPLETION_INDEX")?, number("JOB_COMPLETIONS")?),
        (Some(_), None) => {
            let (id, min) = (number("SLURM_ARRAY_TASK_ID")?, number("SLURM_ARRAY_TASK_MIN")?);
            let (max, count) = (number("SLURM_ARRAY_TASK_MAX")?, number("SLURM_ARRAY_TASK_COUNT")?);
            // A part of an array that is submitted again must not be taken for a whole array.
            if min > 1 {
                return Err(format!("the job array begins at {min}, expected 0 or 1; name the shard with I/N"));
            }
            if id < min || id > max || (max - min).checked_add(1) != Some(count) {
                return Err(format!("the job array has {count} tasks from {min} to {max}: it has gaps"));
            }
            (id - min, count)
        }
    };
    let count = NonZeroUsize::new(count).ok_or("there are 0 shards")?;
    Shard::new(index, count).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard_of(variables: &[(&str, &str)]) -> Result<String, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        from_environment(find).map(|shard| shard.to_string())
    }

    fn slurm(id: &str, min: &str, max: &str, count: &str) -> Result<String, String> {
        shard_of(&[
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ])
    }

    #[test]
    fn a_task_of_a_whole_array_is_a_shard() {
        assert_eq!(slurm("3", "0", "63", "64").unwrap(), "3 of 64");
        assert_eq!(slurm("64", "1", "64", "64").unwrap(), "63 of 64");
        assert_eq!(shard_of(&[("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETIONS", "3")]).unwrap(), "2 of 3");
    }

    #[test]
    fn everything_else_is_an_error() {
        let gaps = slurm("2", "0", "6", "4").unwrap_err();
        assert_eq!(gaps, "the job array has 4 tasks from 0 to 6: it has gaps");
        let again = slurm("3", "3", "3", "1").unwrap_err();
        assert_eq!(again, "the job array begins at 3, expected 0 or 1; name the shard with I/N");
        assert_eq!(slurm("x", "0", "1", "2").unwrap_err(), "SLURM_ARRAY_TASK_ID: expected a number, found \"x\"");
        assert!(slurm("1", "0", "18446744073709551615", "2").is_err());
        let none = "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set";
        assert_eq!(shard_of(&[]).unwrap_err(), none);
        let alone = shard_of(&[("JOB_COMPLETION_INDEX", "2")]).unwrap_err();
        assert_eq!(alone, "JOB_COMPLETIONS is not set");
        let beyond = shard_of(&[("JOB_COMPLETION_INDEX", "3"), ("JOB_COMPLETIONS", "3")]).unwrap_err();
        assert_eq!(beyond, "there is no shard 3 of 3: they are counted from 0");
        assert!(shard_of(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "0")]).is_err());
        assert!(shard_of(&[("JOB_COMPLETION_INDEX", "0"), ("SLURM_ARRAY_TASK_ID", "0")]).is_err());
    }
}
