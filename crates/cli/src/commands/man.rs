//! `vendomini man`: manual pages, from the definition of the command line.

use crate::args::{Cli, ManArgs};
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory;
use clap_mangen::Man;
use std::io;
use std::path::Path;

pub fn run(args: &ManArgs) -> Result<u8, Failure> {
    let command = Cli::command();
    match &args.dir {
        None => {
            let page = page(command).map_err(|error| Failure::software(error.to_string()))?;
            output::part(&String::from_utf8_lossy(&page))?;
        }
        Some(dir) => write_pages(command, dir)
            .map_err(|(path, error)| Failure::io(&format!("cannot write {path}"), &error))?,
    }
    Ok(0)
}

/// Writes `vendomini.1` and a page for each command, `vendomini-load.1`.
fn write_pages(command: clap::Command, dir: &Path) -> Result<(), (String, io::Error)> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error| (path, error)
    };
    std::fs::create_dir_all(dir).map_err(at(dir))?;
    for sub in command.get_subcommands() {
        let name = format!("vendomini-{}", sub.get_name());
        // The page names the command as it is typed.
        let sub = sub.clone().display_name(&name).bin_name(name.replace('-', " "));
        let path = dir.join(format!("{name}.1"));
        page(sub).and_then(|page| std::fs::write(&path, page)).map_err(at(&path))?;
    }
    let path = dir.join("vendomini.1");
    page(command).and_then(|page| std::fs::write(&path, page)).map_err(at(&path))
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}
