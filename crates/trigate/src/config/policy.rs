//! Where are the operator's policies, and which routes ask for them? Reads the files; what they say is judged by
//! `trigate-policy`.

use super::Config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc};
use trigate_gates::RouteRule;
use trigate_policy::{Policies, RouteFace, Source};

/// `[policy]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Folder of the policies: every file in it that ends in `.cedar`.
    pub folder: String,
}

/// The policies in force for `routes`; `None` where none are configured.
pub fn load(config: &Config, routes: &[RouteRule]) -> Result<Option<Arc<Policies>>, String> {
    let Some(section) = &config.file.policy else { return Ok(None) };
    let texts = read_folder(&config.resolve(&section.folder))?;
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let faces: Vec<RouteFace<'_>> =
        routes.iter().filter(|route| route.policy).map(|route| RouteFace { name: &route.name }).collect();
    Policies::load(&sources, &faces).map(|policies| Some(Arc::new(policies))).map_err(|faults| faults.to_string())
}

/// The policies for the routes of the file, for the command line.
pub fn of_file(config: &Config) -> Result<Option<Arc<Policies>>, String> {
    load(config, &super::rules::route_rules(&config.file)?)
}

/// Names and texts, in the order of the names.
fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let told =
        |error: std::io::Error| format!("`{}`: {error}\n  help: `[policy] folder` names a folder", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, text));
        }
    }
    if files.is_empty() {
        return Err(format!("`{}` holds no file that ends in `.cedar`", folder.display()));
    }
    files.sort();
    Ok(files)
}
