"""Every tool. What is not in TOOLS is not offered; a tool is a route of that name (`Route.id`), and does what the route does.

At most forty, so that a model can hold them in its head. A description is for one that has read nothing else; what arguments
are called says the route, and what they mean says the route's types, or MEANINGS where those say nothing.
"""

from msgspec import Struct


class Look(Struct, frozen=True):
    """How to see what became of a command: a tool, its arguments as fields of the command's result, a status to wait for."""

    tool: str
    ids: dict[str, str]
    wait: str = ""


class Tool(Struct, frozen=True):
    """One row. `confirm` is the tool that reads what has the name that a destructive call repeats."""

    name: str
    description: str
    look: Look | None = None
    confirm: str = ""
    open_world: bool = False  # what it does reaches, or depends on, what is not on this server


DEPLOYMENT = Look("get_deployment", {"service_id": "service_id", "deployment_id": "deployment_id"}, "running")
_DATABASE = Look("get_database", {"database_id": "id"}, "running")

TOOLS = (
    Tool(
        "get_whoami",
        "Says who you are here: tenant, key, scopes, what is used and left of each quota (services, memory, CPU, databases) and"
        " how often you may ask. Call it first.",
    ),
    # services
    Tool(
        "list_services",
        "Lists your services, newest first, each with id, name, status and url. Other tools take the id, not the name: find it"
        " here.",
    ),
    Tool(
        "get_service",
        "Reads one service: status, url, image, limits, last_error. With `wait` it answers once the service has that status, or"
        " as it is after `timeout` seconds: call it again while status is deploying. On failed, crashed or circuit_open see"
        " last_error, then read_logs.",
    ),
    Tool(
        "create_service",
        "Makes a service and deploys its image: one container image that runs for good and answers HTTP on `port`. Leave `image`"
        " out to build it from git with create_build next. Answers at once, before it runs; the deployment goes on by itself.",
        look=DEPLOYMENT,
        open_world=True,
    ),
    Tool(
        "update_service",
        "Changes settings of a service. They hold from its next deployment on: call deploy_service or restart_service after.",
    ),
    Tool(
        "delete_service",
        "Deletes a service with its variables and names, for good. `confirm` has to be the service's name.",
        confirm="get_service",
    ),
    Tool("start_service", "Runs again what a stopped service ran last. Answers at once.", look=DEPLOYMENT),
    Tool(
        "stop_service",
        "Stops a service: nothing of it runs, it keeps its settings and address. start_service undoes it.",
        look=Look("get_service", {"service_id": "service_id"}, "stopped"),
    ),
    Tool(
        "restart_service",
        "Replaces a service's containers by fresh ones of the same image, with today's settings and variables. Answers at once;"
        " what runs goes on until the new ones are healthy.",
        look=DEPLOYMENT,
    ),
    Tool(
        "reset_service",
        "Deploys a service anew whose status is circuit_open: it crashed too often and was stopped. Mend the cause first.",
        look=DEPLOYMENT,
    ),
    # deployments
    Tool(
        "deploy_service",
        "Deploys an image to a service that exists; with no image its own, pulled again. Answers at once with the deployment;"
        " what runs now goes on until the new one is healthy, and stays if it fails.",
        look=DEPLOYMENT,
        open_world=True,
    ),
    Tool(
        "rollback_service",
        "Deploys again what ran before, with the image, variables and limits of then; or the deployment that you name.",
        look=DEPLOYMENT,
    ),
    Tool("list_deployments", "Lists a service's deployments, newest first: what was tried, and how it ended."),
    Tool(
        "get_deployment",
        "Reads one deployment: status, error_message, and the last lines that it wrote where it failed. With `wait` it answers"
        " once it has that status, or as it is after `timeout` seconds.",
    ),
    # variables
    Tool(
        "get_env",
        "Lists a service's environment variables, values masked; with `reveal` as they are, which needs the scope deploy.",
    ),
    Tool(
        "set_env",
        "Sets or replaces environment variables; others stay. They hold from the next deployment on: restart_service after.",
    ),
    Tool(
        "unset_env",
        "Takes one environment variable away, from the next deployment on. `confirm` has to be the service's name.",
        confirm="get_service",
    ),
    # looking inside
    Tool(
        "read_logs",
        "Reads the last lines that a service wrote, or with `after` what it wrote since, of which the last 10,000. Call it when"
        " a service failed or crashed. `next` has the arguments that go on from here, also when there is nothing new yet.",
    ),
    Tool(
        "exec_command",
        "Runs a program with arguments in a running container of a service, waits for its end, and tells exit_code, stdout and"
        ' stderr. No shell: for one, say ["sh", "-c", "…"]. `confirm` has to be the service\'s name. Never runs twice for one'
        " idempotency_key; a repeat tells the exit code only.",
        confirm="get_service",
        open_world=True,
    ),
    # builds
    Tool(
        "create_build",
        "Builds a git repository into an image and deploys it to a service. Answers at once with the build; it goes on by itself"
        " in the order of the queue. Then get_build with `wait`, and read_build_logs where it failed.",
        look=Look("get_build", {"service_id": "service_id", "build_id": "build_id"}, "succeeded"),
        open_world=True,
    ),
    Tool(
        "get_build",
        "Reads one build: status, step, error. With `wait` it answers once the build has that status or has ended, or as it is"
        " after `timeout` seconds.",
    ),
    Tool("list_service_builds", "Lists a service's builds, newest first."),
    Tool("cancel_build", "Calls a build off; it never deploys. What runs of the service goes on."),
    Tool(
        "read_build_logs",
        "Reads what a build said, from the beginning, or after a line's number; see `next` for what follows. `ended` is there"
        " once the build has ended and all is read.",
    ),
    # databases
    Tool(
        "create_database",
        "Makes a Postgres or Redis database, reached by your services only. Answers at once, provisioning; then link_database"
        " gives it to a service.",
        look=_DATABASE,
    ),
    Tool("list_databases", "Lists your databases, newest first; with `status` deleted those that can still come back."),
    Tool(
        "get_database",
        "Reads one database: status, host, port, last_error. With `wait` it answers once it has that status, or as it is after"
        " `timeout` seconds.",
    ),
    Tool("start_database", "Tries a database again whose status is failed or stopped.", look=_DATABASE),
    Tool(
        "delete_database",
        "Deletes a database: undelete_database brings it back for a while (purged_at says how long), unless `purge` is true:"
        " then all data is gone. `confirm` has to be the database's name.",
        confirm="get_database",
    ),
    Tool(
        "undelete_database",
        "Brings a deleted database back with all its data, as long as that is kept.",
        look=_DATABASE,
    ),
    Tool(
        "get_connection_string",
        "Tells a database's address with its password. That you read it is recorded. To connect a service, link_database is"
        " enough, and shows the password to nobody.",
    ),
    Tool(
        "link_database",
        "Sets a database's connection string as a variable of a service (DATABASE_URL or REDIS_URL, unless `key` says another)"
        " and deploys the service.",
        look=DEPLOYMENT,
    ),
    Tool(
        "create_backup",
        "Takes a backup of a database; it counts once its status is verified: restored into a scratch database and queried.",
        look=Look("list_backups", {"database_id": "database_id"}),
    ),
    Tool("list_backups", "Lists a database's backups, newest first."),
    Tool(
        "restore_database",
        "Puts a verified backup in the place of all that is in a database now, which is lost. `confirm` has to be the database's"
        " name.",
        look=_DATABASE,
        confirm="get_database",
    ),
    # names
    Tool(
        "add_domain",
        "Gives a service a host name of your own. Answers with the DNS TXT record to make; then verify_domain.",
        open_world=True,
    ),
    Tool(
        "verify_domain",
        "Has the DNS record of a host name looked for now; once found, the name serves.",
        open_world=True,
    ),
    # what happened
    Tool(
        "read_events",
        "Reads what happened to what is yours, as recorded: without `after` the newest, newest first; with it what followed,"
        " oldest first. `next` goes on from there. Any position that it tells can be the `as_of` of a tool that reads: what"
        " was then.",
    ),
    Tool("list_activity", "Lists what was done and what came of it, in words, newest first: who, what, when, outcome."),
    # keys
    Tool(
        "create_key",
        "Makes another API key, shown this once: for a helper, with fewer scopes (read, deploy, admin) and an expiry.",
    ),
)

MEANINGS = {
    "backup_id": "the backup's id, from list_backups",
    "builder": "nixpacks finds out by itself how to build; dockerfile uses the repository's Dockerfile",
    "command": "the program and its arguments, one by one",
    "cpu_count": "CPU cores that it may use at most",
    "cursor": "go on from here: what `next` of the last answer says",
    "deployment_id": "the deployment to go back to, from list_deployments; by default the one before the present one",
    "domain": "the host name",
    "drain_s": "seconds that a replaced container has to finish its requests",
    "egress": "internet lets it reach the internet; none only your own databases and services",
    "env": "environment variables, name to value",
    "expires_in": "seconds from now until the key ends by itself",
    "health_path": "path that answers 2xx once it is ready; without one an open port is enough",
    "image": "a container image, as docker pull takes it",
    "key": "the variable's name",
    "memory_mb": "MB of memory; using more kills it",
    "name": "what to call it: letters, digits, hyphens; part of its host name",
    "port": "the port that it listens on, also told to it as PORT; 0 for a worker that listens on none",
    "purge": "true: remove the data now, for good",
    "replicas": "how many of it run side by side",
    "resource": "only of this id",
    "scopes": "what the key may do: read, deploy (and read), admin (everything)",
    "service_id": "the service's id; of a key: the only one that it is for",
    "source_ref": "branch, tag or commit; without it the repository's own default",
    "source_url": "https address of the git repository",
    "status": "only those with this status",
    "timeout_s": "seconds until it is ended",
    "type": "which kind",
    "values": "the variables, name to value",
    "volumes": "folders that outlive deployments, name to path in the container",
}
"""What arguments mean, in all tools, where the route's own types say nothing of it."""
