//! Checks the outputs of a run before any work: no two are the same file, and none is an input.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::jobs::Job;
use super::paths::{FileId, folder_of, is_numbered, is_same_folder, resolve, shown};
use super::temporary::ignores_case;

/// What is said of an input that is named twice.
const TWICE: &str = "is named twice";

/// At most this many conflicts are listed.
const LISTED: usize = 5;

/// Checks all jobs. `pictures` returns the number of pictures that come of an input file.
///
/// # Errors
/// [`Failure::Collisions`] with the first conflicts and advice.
pub fn check(jobs: &[Job], pictures: fn(&Path) -> usize) -> Result<(), Failure> {
    let outputs = outputs(jobs, pictures);
    let same = same_outputs(jobs, &outputs, ignores_case);
    if !same.is_empty() {
        let advice = match same.iter().all(|conflict| conflict.ends_with(TWICE)) {
            true => "name each input once",
            false => {
                "name only the inputs that are meant, such as *.jpg, rename one of each, or run the command once for \
                 each with different --out-dir"
            }
        };
        return Err(failure(same, advice));
    }
    let also_inputs = also_inputs(jobs, &outputs);
    if !also_inputs.is_empty() {
        return Err(failure(also_inputs, "use another --out-dir or -o"));
    }
    Ok(())
}

/// Whether outputs at both paths would be the same file, which need not exist: the same name in the same folder, after links
/// have been followed.
pub fn is_same_output(one: &Path, other: &Path) -> bool {
    let (one, other) = (resolve(one), resolve(other));
    let folded = |path: &Path| path.file_name().map(|name| shown(name.as_ref()).to_lowercase());
    is_same_folder(folder_of(&one), folder_of(&other))
        && (one.file_name() == other.file_name()
            || (folded(&one) == folded(&other) && ignores_case(folder_of(&one))))
}

/// An output, and the number of its job.
type Output = (PathBuf, usize);

/// Returns the outputs of all jobs. The headers of inputs are read only where a batch can collide with another output:
/// next to `a-0.safetensors`, `a.safetensors` must not be a batch.
fn outputs(jobs: &[Job], pictures: fn(&Path) -> usize) -> Vec<Output> {
    let mut sorted: Vec<_> = jobs.iter().map(|job| job.input.stem()).collect();
    sorted.sort();
    let mut outputs = Vec::with_capacity(jobs.len());
    for (number, job) in jobs.iter().enumerate() {
        let Some(path) = job.destination.path() else { continue };
        let stem = path.file_stem().unwrap_or_default();
        let mut first = stem.to_os_string();
        first.push("-");
        let from = sorted.partition_point(|other| *other < first);
        let mut after = sorted[from..]
            .iter()
            .take_while(|other| other.as_encoded_bytes().starts_with(first.as_encoded_bytes()));
        let count = match job.input.path() {
            Some(input) if after.any(|other| is_numbered(other, stem)) => pictures(input).max(1),
            _ => 1,
        };
        let numbered = job.destination.numbered(count).unwrap_or_default();
        outputs.extend(numbered.iter().filter_map(|one| Some((one.path()?.to_path_buf(), number))));
    }
    outputs
}

/// Describes the outputs that several inputs have, or that the folder cannot tell apart.
fn same_outputs(jobs: &[Job], outputs: &[Output], ignores_case: fn(&Path) -> bool) -> Vec<String> {
    let mut conflicts = Vec::new();
    let mut folded: HashMap<String, &Output> = HashMap::with_capacity(outputs.len());
    let mut exact: HashMap<&Path, usize> = HashMap::with_capacity(outputs.len());
    let mut ignores = None;
    for output in outputs {
        let (path, number) = output;
        let input = jobs[*number].input.name();
        let other = exact.insert(path, *number).map(|other| jobs[other].input.name());
        let similar = folded.insert(shown(path).to_lowercase(), output);
        if let Some(other) = other {
            conflicts.push(match other == input {
                true => format!("{input} {TWICE}"),
                false => format!("{other} and {input} have the same output, {}", shown(path)),
            });
        } else if let Some((similar, other)) = similar
            && *ignores.get_or_insert_with(|| ignores_case(folder_of(path)))
        {
            conflicts.push(format!(
                "{} and {input} have outputs that differ only in case, {} and {}, which are the same file in this folder",
                jobs[*other].input.name(),
                shown(similar),
                shown(path)
            ));
        }
    }
    conflicts
}

/// Describes the outputs that are an input, under whatever name.
fn also_inputs(jobs: &[Job], outputs: &[Output]) -> Vec<String> {
    let inputs = jobs.iter().filter_map(|job| job.input.path());
    let inputs: HashMap<FileId, &Path> =
        inputs.filter_map(|path| FileId::of(path).map(|id| (id, path))).collect();
    let conflicts = outputs.iter().filter_map(|(path, _)| {
        let input = inputs.get(&FileId::of(path)?)?;
        Some(match *input == path.strip_prefix(".").unwrap_or(path) {
            true => format!("the output {} is an input", shown(path)),
            false => format!("the output {} is the same file as the input {}", shown(path), shown(input)),
        })
    });
    conflicts.collect()
}

fn failure(mut conflicts: Vec<String>, advice: &'static str) -> Failure {
    let more = conflicts.len().saturating_sub(LISTED);
    conflicts.truncate(LISTED);
    if more > 0 {
        conflicts.push(format!("{more} more like these"));
    }
    Failure::Collisions { conflicts, advice }
}

#[cfg(test)]
mod tests {
    use super::super::jobs::Input;
    use super::super::output::Destination;
    use super::*;

    #[test]
    fn names_that_differ_only_in_case_are_refused_where_case_is_ignored() {
        let job = |name: &str| Job {
            input: Input::new(name.as_ref()),
            destination: Destination::Kept(Path::new("d").join(name)),
        };
        let jobs = ["A.png", "b.png", "a.png"].map(job);
        let outputs = outputs(&jobs, |_| 1);
        assert!(same_outputs(&jobs, &outputs, |_| false).is_empty());
        let conflicts = same_outputs(&jobs, &outputs, |_| true);
        assert_eq!(conflicts.len(), 1);
        assert!(conflicts[0].contains("d/A.png and d/a.png"), "{conflicts:?}");
    }
}
