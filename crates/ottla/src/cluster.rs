//! `ottla cluster`: the cluster's id and nodes, and brokers taken out of it.

use std::io::Write as _;

use ottla_client::{Admin, Error};

use crate::options::{CommandLine, Options, SubCommand, flag, integer, text};
use crate::table;
use crate::tool::{self, Failure, HELP, Out, Tool, VERSION, require};

pub(crate) const TOOL: Tool = Tool {
    name: "cluster",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Shows the cluster's id and nodes, and takes brokers out of it.",
    commands: &[
        SubCommand {
            name: "cluster-id",
            about: "Shows the cluster's id.",
            options: &[],
        },
        SubCommand {
            name: "list-endpoints",
            about: "Lists brokers, or controllers, and where they listen.",
            options: &[flag(
                &["include-fenced-brokers"],
                "Brokers too that are registered but not alive.",
            )],
        },
        SubCommand {
            name: "unregister",
            about: "Takes a broker out of the cluster that will not come back.",
            options: &[integer(&["id", "i"], "id", "The broker.")],
        },
    ],
    options: &[
        text(
            &["bootstrap-server", "b"],
            "host:port,...",
            "The brokers to begin with.",
        ),
        text(
            &["bootstrap-controller", "C"],
            "host:port,...",
            "The controllers to begin with, instead of brokers.",
        ),
        text(
            &["command-config", "c"],
            "file",
            "A properties file with settings of the admin client.",
        ),
        text(&["config"], "file", "The old name of --command-config."),
        HELP,
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let mut settings = tool::admin_settings(options)?;
    if let Some(path) = options.value("config")? {
        if options.has("command-config") {
            let message = "--config and --command-config cannot be specified together.";
            return Err(Failure::Message(message.into()));
        }
        writeln!(
            out,
            "Option --config has been deprecated and will be removed in a future version. Use \
             --command-config instead."
        )?;
        let mut file = tool::properties_file(path)?;
        file.extend(settings);
        settings = file;
    }
    let given = ["bootstrap.servers", "bootstrap.controllers"]
        .iter()
        .filter(|name| settings.get(name).is_some());
    if given.count() != 1 {
        tool::require_bootstrap(options)?;
    }
    let command = options.command.unwrap_or_default();
    if command == "unregister" {
        require(options, &["id"])?;
    }
    let controllers = settings.get("bootstrap.controllers").is_some();
    if controllers && options.has("include-fenced-brokers") {
        let message = "The option --include-fenced-brokers is only supported with \
                       --bootstrap-server option";
        return Err(Failure::Message(message.into()));
    }
    tool::block_on(async {
        let admin = Admin::new(&settings)?;
        match command {
            "cluster-id" => {
                let cluster_id = admin.describe_cluster(false).await?.cluster_id;
                writeln!(out, "Cluster ID: {cluster_id}")?;
                Ok(())
            }
            "list-endpoints" => list(&admin, options, controllers, out).await,
            _ => unregister(&admin, options, out).await,
        }
    })
}

async fn list(
    admin: &Admin,
    options: &Options,
    controllers: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let fenced_too = options.has("include-fenced-brokers");
    let mut nodes = admin.describe_cluster(fenced_too).await?.nodes;
    nodes.sort_by_key(|node| node.id);
    let mut columns = vec![
        ("ID", 10),
        ("HOST", 1),
        ("PORT", 10),
        ("RACK", 10),
        ("STATE", 10),
        ("ENDPOINT_TYPE", 15),
    ];
    if controllers {
        columns.remove(4);
    }
    let rows = nodes.iter().map(|node| {
        let mut row = vec![
            node.id.to_string(),
            node.host.to_string(),
            node.port.to_string(),
            node.rack.as_deref().unwrap_or("null").to_owned(),
        ];
        if !controllers {
            row.push(if node.is_fenced { "fenced" } else { "unfenced" }.to_owned());
        }
        row.push(if controllers { "controller" } else { "broker" }.to_owned());
        row
    });
    table::write_plain(out, &columns, &rows.collect::<Vec<_>>())
}

async fn unregister(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let id = options.number::<i32>("id")?.unwrap_or(-1);
    match admin.unregister_broker(id).await {
        Ok(()) => writeln!(out, "Broker {id} is no longer registered.")?,
        Err(Error::UnsupportedVersion { .. }) => writeln!(
            out,
            "The target cluster does not support the broker unregistration API."
        )?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
