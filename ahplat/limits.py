"""Every bound has its name here, with its unit. What is not bounded is a fault."""

# the clock
CLOCK_JUMP_S = 600.0  # by which the machine's clock may be set, and be followed
CLOCK_WAIT = 10  # a clock that is behind is waited for by a second of so many
CLOCK_GAP_S = 30 * 24 * 3600.0  # from the log's last event to a start that nobody has to confirm

# engines
ENGINE_THREADS = 8  # calls of the engine under way at once
ENGINE_TIMEOUT_S = 60  # of one call that is not a pull
ENGINE_STATUS_S = 5.0  # to say that it is there; after that it counts as away
ENGINE_PULLS = 4  # images being pulled at once
ENGINE_PAUSE_S = 0.1  # between two looks at a name or a removal that Docker is not done with
ENGINE_NAME_TRIES = 20  # to get a container's name
ENGINE_GONE_TRIES = 100  # to see a removal that is under way come to its end
PULL_STALL_S = 300  # without a word of a pull, until it counts as failed
CANCEL_POLL_S = 0.1  # how soon a pull notices that nobody wants it any more
STREAM_CHUNK_BYTES = 16 * 1024  # read at once of an answer that comes in pieces
FRAME_BYTES = 1024 * 1024  # of one frame of Docker's multiplexed streams; it makes them of 32 KiB at most
WATCH_SERVICES = 10_000  # services with a change that nobody has looked at yet
IMAGES_KNOWN = 4_096  # images whose volumes are remembered
FIREWALL_TIMEOUT_S = 20  # of one look at, or change of, the firewall
FIREWALL_TRIES = 3  # to mend it, where another server does the same at the same moment
STOP_POLL_S = 0.02  # until the first look whether a container ended; each wait is twice the one before
STOP_POLL_MAX_S = 0.5  # the longest of these waits
STOP_GRACE_S = 10  # between SIGTERM and SIGKILL, where nobody says otherwise
CONTAINER_PIDS = 256  # processes and threads in one container
CONTAINER_FILES = 65_536  # open files of one process in a container
TAIL_BYTES = 64 * 1024  # of an instance's log, as kept in an outcome
LOG_LINE_BYTES = 64 * 1024  # of one line of an instance's log; what is longer is cut there
LOG_AHEAD_BYTES = 256 * 1024  # of an instance's log, read and not taken yet by who follows it
LOG_POLL_S = 0.02  # between two looks at the log of an embedded instance
LOG_REPEATS = 4_096  # messages among which one that Docker tells twice is found
LOG_MEANWHILE = 1_000  # messages written between the look where a log's last lines begin and the question for them
LOG_STREAMS = 200  # logs of instances being read at once: on Docker each has a thread
LOG_STREAMS_OF_TENANT = 50  # … for one tenant
ENVIRON_LOOKS = 50  # at the variables of a process that has none yet
ENVIRON_LOOK_S = 0.001  # between two of them
EXEC_MARK = "AH_EXEC_ID"  # the variable by which the processes of an exec are known
OWN_ENV = ("AH_SERVICE", "AH_DEPLOYMENT", "AH_INSTANCE_ID", EXEC_MARK)  # what the platform tells instances and commands
EXEC_OUTPUT_BYTES = 1024 * 1024  # kept of a command's stdout, and of its stderr
EXEC_DRAIN_S = 1.0  # after a command's end, for its output
EXEC_LOOK_S = 1.0  # between two looks whether the container of a silent command still runs
EXEC_KILL_S = 20  # to kill what a command left in a container
EXEC_KILL_ROUNDS = 50  # looks for such processes; each kills what it finds
EMBEDDED_START_S = 10  # until the shim of an embedded instance says that it is ready
EMBEDDED_KILL_S = 10  # after the grace, until the shim has killed what is left
EMBEDDED_KILL_ROUNDS = 20  # to kill what a program left behind whose shim was killed
EMBEDDED_POLL_S = 0.003  # between two looks at a lock that somebody holds
EMBEDDED_PORTS = range(20_000, 32_000)  # loopback ports of embedded instances, below Linux's ephemeral ones
EMBEDDED_LOG_BYTES = 10 * 1024 * 1024  # of one log file
EMBEDDED_LOG_FILES = 3
FOLDER_IMAGE_ENTRIES = 200_000  # files and folders in one image that is a folder

# secrets
TENANT_KEYS_CACHED = 10_000

# backups
BACKUP_PAIRS = 10  # the newest are kept
BACKUP_EVERY_S = 24 * 3600.0
BACKUP_LOOK_S = 60.0  # between two looks whether one is due
BACKUP_TIMEOUT_S = 4 * 3600  # of one

# checkpoints
CHECKPOINT_EVENTS = 1_000  # every position that this divides is signed; a proof is no longer than that
CHECKPOINT_EVERY_S = 300.0  # after which the end of the log is signed, where it has moved
CHECKPOINT_APART_S = 1.0  # between two that are signed because somebody wants a proof
CHECKPOINT_READ_BYTES = 65_536  # of the end of what was signed, to find the last

# writer
TRIAL_IMAGES = 3  # that `ah doctor` tries to start a container of, the smallest first
TRIAL_S = 20
STATUS_WORK = 50  # pieces of open work that a status names
QUEUE = 8_192  # commands waiting to be decided; more are answered 503
BATCH = 1_024  # commands decided under one commit
CATCH_UP_S = 1.0  # between two tries to bring views in step that could not be committed
BUSY_S = 30.0  # how long a batch waits for somebody else's lock on the log
SECRET_ANSWER_S = 24 * 3600  # how long a new key is given again on a repeat
REBUILD_ALONE_EVENTS = 50_000  # that one process folds before others have begun
REBUILD_SHARES = 16  # processes that make the views anew, where there are as many cores

# what a tenant may have, unless its operator says otherwise
QUOTAS = {
    "max_services": 5,
    "max_databases": 3,
    "max_builds_concurrent": 3,
    "max_env_vars_per_service": 100,
    "max_environments": 2,
    "max_memory_mb": 6_144,
    "max_cpu_cores": 8,
    "max_disk_gb": 20,
    "api_rate_limit": 100,
}
KEYS_PER_TENANT = 20
TENANTS = 1_000

KEEP_SUSPENDED_S = 30 * 86_400.0  # for which a suspended tenant is kept, then it is erased

# disks
DISK_WARN_PERCENT = 80.0
DISK_FULL_PERCENT = 90.0  # from here on nothing is begun that grows
DISK_CALM_PERCENT = 2  # below a level until it is left
DISK_LOOK_S = 10.0
RESERVE_BYTES = 16 * 1024**2  # kept on the log's disk for what frees room,
RESERVE_SHARE = 8  # but never more than an eighth of it,
RESERVE_TIMES = 3  # and taken where there is room for three

# garbage
IMAGES_KEPT = 5  # of a service: the last that ran
GC_EVERY_S = 300.0
GC_AGE_S = 600  # from when something was first found to be garbage until it is removed
BLOBS_S = 150.0  # of one look through the registry's blobs: to collect them takes two, while pushes wait
UNKNOWN_NAMED = 10  # things that the log does not know, of those that there are

# metering
METER_LOOK_S = 60.0  # between two looks at what runs uses; it is told once an hour
METER_AT_ONCE = 20  # instances looked at, until whoever is about to remove one has a turn
METERING_FOLLOW_S = 60.0  # between two times that metering.db catches up by itself
USAGE_WINDOWS = 1_000  # of one answer

# services
REPLICAS = 10
VOLUMES_PER_SERVICE = 5
VOLUME_BYTES_S = 10.0  # for which what volumes were seen to hold is told again
CRASHES = 5  # within CRASH_WINDOW_S open the circuit
CRASH_WINDOW_S = 600
CRASH_BACKOFF_S = (1, 2, 4, 8)
CIRCUIT_TRIES_S = (1_800, 3_600, 14_400)  # from the open circuit to a try, from one try to the next …
CIRCUIT_HEALTHY_S = 3_600  # … until it was healthy for so long: then its crashes are forgotten

# databases
DATABASE_MEMORY_MB = 512
DATABASE_CPU_MILLI = 1_000
DATABASE_DEADLINE_S = 120  # until a new one, or one that is started again, has to answer a query
DB_RETENTION_S = 24 * 3600.0  # for which the volume of a deleted one is kept
DATABASE_BACKUPS_KEPT = 5  # of one database: the newest that are verified
DATABASE_BACKUPS_AT_ONCE = 4  # being taken or proved, over all tenants, and one of each; the others wait in order
DATABASE_ROLES = 5_000  # of one database of Postgres that is backed up
DATABASE_BACKUP_DEADLINE_S = 3_600  # to take one, and as long to prove it
DATABASE_RESTORE_DEADLINE_S = 3_600
DATABASE_QUERY_S = 300  # of one short command in a database's container
DATABASE_POLL_S = 0.2  # between two looks how far a database has come
DATABASE_SWAP_TRIES = 20  # to find a database without clients, which are cut off at each
SEALED_CHUNK_BYTES = 256 * 1024  # of a backup, sealed at once
PIPE_BYTES = 64 * 1024  # read at once of what a command writes
PIPE_AHEAD_BYTES = 256 * 1024  # of it, read and not taken yet by whoever reads it
PIPE_TAIL_BYTES = 4 * 1024  # kept of what a command says on stderr

# effects
WORKERS = 32  # attempts under way at once, over all subjects; no tenant has more than are left for others
ATTEMPTS = 10  # after which what can fail has failed; what cannot is parked, once it is PARK_AFTER_S old
ATTEMPTS_AT_MOST = 20  # after which it is parked however young it is: a handler may be killing the process
PARK_AFTER_S = 3_600
BACKOFF_S = 1.0  # doubled with each attempt, with full jitter …
BACKOFF_AT_MOST_S = 60.0  # … up to here
DEPLOY_DEADLINE_S = 1_200
REPAIR_DEADLINE_S = 1_200
DEPLOY_TIMEOUT_S = 600  # until a started deployment has to be healthy
HEALTH_POLL_S = (0.02, 0.5)  # between two looks at an instance's health: the first, and what it rises to
HEALTH_REQUEST_S = 5.0
WORKER_UP_S = 2.0  # how long a service without a port has to stay up
DRAIN_S = 1.0  # between the route that moved and the end of what served before
LEFTOVERS = 3  # instances of superseded drains that the next deployment does not wait for
OUTCOME_TAIL_LINES = 50
ERASURE_LOOKS = 200  # at the tenant's other work, until the erasure is postponed
ERASURE_LOOK_S = 0.05  # between two of them
LOOKED_AT_ONCE = 50  # of all services, before whoever else has something to do goes first
RECONCILE_S = 60.0  # over everything, with jitter; events wake it at once
ENGINE_PROBE_S = 1.0  # between two looks for an engine that is away

# routing
ROUTE_CONFIRM_S = 10.0  # that the router, while it answers, has to show what it was told
ROUTE_AWAY_S = 5.0  # without an answer of the router's API, until a switch waits for another attempt
ROUTE_GONE_S = 2.0  # that a stop waits for the router to let go, and a repair for it to follow
ROUTE_POLL_S = (0.02, 0.25)  # between two looks at what the router has: the first, and what it rises to
ROUTE_DEADLINE_S = 600  # for the whole of a switch, its later attempts included
ROUTER_REQUEST_S = 2.0  # of one question to the router's API
ROUTER_ANSWER_BYTES = 1024 * 1024  # of one answer of it
ROUTE_FILES = 20_000  # entries of the routers' folder that are looked at
DRAIN_AT_MOST_S = 300
DOMAINS_PER_SERVICE = 20
DOMAINS_UNVERIFIED = 20  # of one tenant: each is work that is open
DOMAIN_CHECKS = 4  # looks for a name's record under way at once
DOMAIN_CHECK_S = (30.0, 3_600.0)  # between two of them: the first wait, doubled each time, and what it rises to
DOMAIN_CHECKED_FOR_S = 72 * 3_600.0  # after which only the tenant has it looked for again

# http
DETAIL_CHARS = 2_000  # of an error's text
VIOLATIONS = 100  # bad fields named in one answer
POINTER_CHARS = 256  # of a JSON Pointer in an answer; a longer one ends in …
IDEMPOTENCY_KEY_CHARS = 128
KEY_ASKED_AGAIN_S = 0.5  # that a read waited, after which its key is looked at again
THROTTLE_HEADERS = 10_000  # answers of one limiter that are kept ready

# names
NAMES_TTL_S = 1  # a service moves at every deploy
NAMES_QUERY_BYTES = 4_096  # of one question; what is longer is dropped
NAMES_UDP_BYTES = 1_232  # of one answer over UDP (DNS Flag Day 2020); what is longer is cut, and asked for over TCP
NAMES_UDP_BYTES_LEAST = 512  # that everybody takes (RFC 1035, section 2.3.4)
NAMES_TCP_BYTES = 65_535
NAMES_RATE = 400  # questions a second of one tenant …
NAMES_BURST = 800  # … and at once
NAMES_RATE_ALL = 2_000  # of all, with a burst as much larger; what is above waits in the kernel while there is room
NAMES_PAUSE_S = 0.02  # until who asked too much is heard again
NAMES_PACKETS_AT_ONCE = 8  # read of one network before others have their turn
NAMES_CONNECTIONS = 64  # on one network, questions that are passed on included
NAMES_TCP_QUESTIONS = 1_000  # over one connection
NAMES_TCP_IDLE_S = 10.0  # until a connection without a question is closed
NAMES_UPSTREAMS = 3  # that a resolv.conf may name, as everywhere
NAMES_UPSTREAM_S = 3.0  # until the next one is asked
NAMES_FORWARD_S = 8.0  # until nobody is asked any more
NAMES_FORWARDS_EACH = 64  # questions of one tenant that others were asked …
NAMES_FORWARDS = 512  # … and of all

# http: the built-in router
HOSTS_CACHED = 1_024  # Host headers whose meaning is remembered
FORWARDED = 4_096  # connections to services at once
FORWARDED_TO_TENANT = 512  # … of them to all services of one tenant: the next request is answered 503
FORWARDED_TO_ONE = 256  # … of them to one instance
FORWARD_CONNECT_S = 5.0  # until a service took the connection, a wait for a free one included
FORWARD_ANSWER_S = 60.0  # from the request's last byte to the answer's head
FORWARD_SILENCE_S = 3600.0  # between two pieces of an answer
FORWARD_KEEPALIVE_S = 4.0  # an idle connection to a service; below the 5 s that many servers have
FORWARD_GONE_S = 1.0  # how soon a client's going is noticed while a service is silent
FORWARD_HEAD_BYTES = 65_536  # of one header line of a service's answer
WEBSOCKET_MESSAGE_BYTES = 16 * 1024 * 1024
WEBSOCKET_CLOSE_S = 2.0  # that either side has to answer a close

# mcp
MCP_KEPT_MS = 300_000  # for which a client may keep the list of tools
MCP_AT_ONCE = 32  # messages that `ah mcp` has passed on and not got an answer to
MCP_LAST_S = 5.0  # that they have once the client closed its end
MCP_ANSWER_S = 420.0  # until the server's answer to one of them: longer than any wait, and than an exec
MCP_LINES_BYTES = 256 * 1024  # of lines in one result; the next call goes on from there

# builds
BUILDS_AT_ONCE = 3  # under way, over all tenants; the others wait in order
BUILDS_OF_ONE = 1  # of one tenant
BUILD_DEADLINE_S = 1_200  # of all steps together, from the first attempt, unless the operator sets another
BUILD_DEADLINE_AT_MOST_S = 3_600
CLONE_S = 300
CLONE_BYTES = 1024**3  # of the repository and what it is unpacked to, while it comes
CLONE_ENTRIES = 200_000
CLONE_POLL_S = 0.25  # between two looks at how large it has become
UPLOAD_BYTES = 64 * 1024**2  # of an archive that is sent to be built
UPLOAD_S = 900.0  # until all of it is here
UPLOAD_STALL_S = 30.0  # between two pieces of it
UPLOAD_UNPACKED_BYTES = 1024**3
UPLOAD_ENTRIES = 50_000
UPLOAD_LOOK_S = 60.0  # to look through one, and to unpack it
UPLOADS = 8  # on their way at once
UPLOADS_OF_TENANT = 2
PLAN_S = 60
PLAN_FILE_BYTES = 16 * 1024**2  # of one file that a plan writes
PUSH_S = 300
PROGRAM_CHUNK_BYTES = 64 * 1024  # read at once of what a program says
PROGRAM_DRAIN_S = 2.0  # after a program's end, for the last of what it said
BUILD_MEMORY_MB = 2_048  # of a tenant's builder, with all that runs in a build
BUILD_CPU_MILLI = 2_000
BUILD_NAMESERVERS = ("1.1.1.1", "9.9.9.9")  # public ones: a build reaches no others
BUILD_PIDS = 2_048
BUILD_DISK_BYTES = 10 * 1024**3  # that one build may add to its tenant's cache
BUILD_DISK_POLL_S = 1.0
BUILD_CACHE_MB = 5_000  # that a builder keeps for its tenant between builds
BUILDER_START_S = 20.0
SANDBOX_START_S = 20.0
SPARE_ROOMS = 4  # tenants whose next build finds its sandboxes up
SPARE_ROOMS_AFTER_S = 1.0  # a build: its deployment comes first
SPARE_ROOMS_FREE_MB = 2_048  # of memory that is to be there for them to come up
SANDBOX_SAID_BYTES = 16 * 1024  # kept of what a sandbox that does not start says
BUILDER_IDLE_S = 300.0  # without a build, then it ends
BUILDER_KILL_ROUNDS = 500  # looks for what is to be killed: a busy machine took more than a second to let it go …
BUILDER_KILL_S = 0.02  # … and between two of them
MIRROR_SILENCE_S = 60.0
MIRROR_CHUNK_BYTES = 256 * 1024
SOURCE_URL_CHARS = 512
SOURCE_REF_CHARS = 255
BUILD_STEP_SAID_BYTES = 32 * 1024**2  # of one step; the rest is dropped, which the log says
BUILD_LOG_BYTES = 5 * 1024**2  # of lines; after that only the last BUILD_LOG_TAIL_LINES are kept
BUILD_LOG_TAIL_LINES = 500
BUILD_LOG_TAIL_BYTES = 1024**2
BUILD_LINE_BYTES = 256 * 1024  # of one line; the rest of it is cut
BUILD_LOG_LOOK_S = 0.2  # between two looks whether a build that has its outcome has said its last
MASKED_CHARS = 8  # a variable's value that is at least so long is masked in what a build says

# the API
BODY_BYTES = 1024 * 1024
OPEN_BODY_BYTES = 16 * 1024  # of a body that is read before it is known who sends it
HEAD_S = 120.0  # until the whole head of the next request is here
HEAD_SWEEP_S = 5.0  # between two looks for connections on which it did not come
BODY_S = 30.0  # until all of a body is here
URI_CHARS = 8_000  # path and query
REQUEST_LINE_BYTES = 8_190  # what a longer one begins with is not even read
HEADER_BYTES = 16_384  # of one header field
ADDRESS_CHARS = 64  # of an address that a proxy names
ADDRESSES_CACHED = 4_096  # peers' addresses whose meaning is remembered
LIST_LIMIT = 200  # rows of one list at most
LIST_DEFAULT = 100
LOG_ROWS_SCANNED = 20_000  # of the log for one filtered list of events; a cursor goes on from there
WHY_EVENTS = 200  # of one answer to why
WHY_DEPTH = 50  # causes of causes, and effects of effects
WHY_SCANNED = 50_000  # of a tenant's events, to find what one of them led to
PAST_AT_ONCE = 2  # looks into the past; others wait …
PAST_WAITING = 20  # … up to so many,
PAST_WAITING_OF_TENANT = 5  # and of one tenant so many
PAST_EVENTS = 200_000  # folded for one look, and kept folded in all …
PAST_KEPT = 20  # … by so many looks at most
INCIDENT_LINES = 2_000  # the last of a build's log, in an incident's archive …
INCIDENT_TAIL_BYTES = 256 * 1024  # and the last of other files
RATE_BURST = 2  # times the rate, per tenant
GLOBAL_RATE = 500
GLOBAL_BURST = 1_000
AUTH_CACHE = 10_000  # keys whose bcrypt was right
BCRYPT_THREADS = 2
BCRYPT_WAITING = 64
BCRYPT_COST = 10
AUTH_FAILURES_PER_MINUTE = 10
REGISTRATIONS_PER_HOUR_AND_ADDRESS = 5
REGISTRATIONS_PER_HOUR = 20
WAIT_S = 60  # longest `?wait=` and `Prefer: wait=`
POSITION_WAIT_S = 5.0
LOG_TAIL = 10_000  # lines asked for at most
LOG_TAIL_DEFAULT = 100
LOG_GONE_S = 1.0  # how soon a client's going is noticed while nothing is written, or a command runs
LOG_LOOK_S = 0.5  # between two looks for the instances of a deployment that is on its way
LOG_BUNCH_LINES = 256  # of several instances, sent at once
LOG_BUNCHES = 4  # bunches of lines waiting to be sent to one who follows
EXEC_ARGUMENTS = 256
EXEC_ARGUMENT_BYTES = 96 * 1024  # of all of them; the kernel takes 128 KiB of one
EXEC_TIMEOUT_S = 300
EXEC_TIMEOUT_DEFAULT_S = 25  # below the 30 s that clients wait
EXEC_LATE_S = 30  # after its timeout, until the outcome of an exec is taken to be unknown
EXECS = 32  # commands running at once
EXECS_OF_TENANT = 16  # … of one tenant
EXECS_OF_ONE = 8  # … in one service
STREAMS = 2_000  # open event streams
STREAMS_OF_TENANT = 500  # … of one tenant
STREAM_QUEUE = 1_000  # events waiting for one stream; more, and it reads on from the log
STREAM_STALL_S = 60.0  # without write progress, then it is closed
STREAM_PING_S = 15.0
READY_WAIT_S = 30.0  # how long a request waits for the views while they are being built
SHUTDOWN_S = 9.0  # that requests in flight have to end
SHUTDOWN_CUT_S = 0.2  # until what did not is cut off: aiohttp waits twice as long
SHUTDOWN_POLL_S = 0.02  # between two looks whether all have ended
RENDERED = 10_000  # service bodies kept rendered
