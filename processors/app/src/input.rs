//! Input from a file or from standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use millrace_ops::failure::Failure;

/// A file, or standard input for `-`.
pub(crate) fn open(file: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened =
        File::open(file).map_err(|error| Failure::usage(file.display().to_string()).caused_by(error))?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, opened)))
}
