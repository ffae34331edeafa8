use super::*;
use clap::CommandFactory as _;

/// Every command shows an example in its own help.
#[test]
fn every_help_shows_an_example() {
    fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
        let children: Vec<_> = command.get_subcommands().filter(|child| child.get_name() != "help").collect();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if children.is_empty() && !help.contains("trigate ") {
            missing.push(path.to_owned());
        }
        for child in children {
            walk(child, &format!("{path} {}", child.get_name()), missing);
        }
    }
    let mut missing = Vec::new();
    walk(&Cli::command(), "trigate", &mut missing);
    assert!(missing.is_empty(), "no example: {missing:?}");
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn examples_of_help_can_be_parsed() {
    fn walk(command: &clap::Command, examples: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        examples.extend(help.lines().filter_map(|line| line.trim().strip_prefix("trigate ")).map(str::to_owned));
        command.get_subcommands().for_each(|child| walk(child, examples));
    }
    let mut examples = Vec::new();
    walk(&Cli::command(), &mut examples);
    for example in examples {
        // A remark, a redirection or a second command may follow.
        let line = example
            .split(" < ")
            .next()
            .unwrap()
            .split(" > ")
            .next()
            .unwrap()
            .split(" && ")
            .next()
            .unwrap()
            .split("    ")
            .next()
            .unwrap();
        let words = words(line);
        let parsed = Cli::try_parse_from(std::iter::once("trigate".to_owned()).chain(words));
        assert!(parsed.is_ok(), "`trigate {line}`: {}", parsed.err().unwrap());
    }
}

/// As a shell splits them: blanks, and double quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(at, part)| {
            if at % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
        })
        .collect()
}

#[test]
fn secrets_are_no_arguments() {
    for secret in ["tgk_live_abcdefghijklmnop", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.AAAA"] {
        assert!(revoke::refuse_secret_argument(secret).is_err(), "{secret}");
    }
    assert!(revoke::refuse_secret_argument("key_abcdef").is_ok());
}
