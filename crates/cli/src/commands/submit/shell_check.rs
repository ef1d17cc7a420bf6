//! Checks the shell lines of a site file with `bash -n`, which executes nothing.

use crate::failure::Failure;
use crate::slurm;
use error_kind::ErrorKind;
use experiment::slurm::Site;

/// The shell of the batch scripts.
const SHELL: &str = "/bin/bash";

/// Checks `setup` and `teardown` of a model's site settings.
///
/// # Errors
/// `Usage` with bash's message, also for a here-document that does not end: it would take in the
/// rest of the script.
pub fn check_shell_lines(site: &Site, model: &str) -> Result<(), Failure> {
    for (key, lines) in [("setup", &site.setup), ("teardown", &site.teardown)] {
        if lines.is_empty() {
            continue;
        }
        let text = lines.join("\n") + "\n\n";
        let refused = |why: &str| {
            let why = why.replace("/bin/bash: ", "").trim().replace('\n', "; ");
            Failure::usage(format!(
                "the site file: {key} (for {model}): expected lines of bash, and bash says: {why}"
            ))
        };
        match slurm::call_with_input(SHELL, &["-n".into()], &text) {
            Ok(printed) if printed.stderr.trim().is_empty() => {}
            Ok(printed) => return Err(refused(&printed.stderr)),
            Err(failure) if failure.kind == ErrorKind::Unavailable => {
                let own = failure.text.split_once("): ").map_or(&*failure.text, |(_, own)| own);
                return Err(refused(own));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
