"""Every name that leaves the process: operations, attributes, metrics.

What each of them means, its type and bounds are in `registry.toml` beside this; what other programs
call the same, in `mapping.toml`. GenAI names are in development and still move: the newest ones are
written, former ones are read.
Source: OpenTelemetry semantic conventions (general, process, system) and the GenAI conventions,
which have a repository of their own (`open-telemetry/semantic-conventions-genai`).
"""

SCOPE = "orchwatch"

# The conventions of resources, and of what a scope holds: GenAI's, which build on the general ones.
RESOURCE_SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"

# OpenTelemetry's variable for a file that declares the whole SDK.
CONFIG_FILE_VARIABLE = "OTEL_CONFIG_FILE"

# Operations that the targets table knows.
SESSION_INIT = "session.init"
STATE_QUERY = "state.query"
HOOK_PROCESS = "hook.process"
DASHBOARD_REFRESH = "dashboard.refresh"
AGENT_SPAWN = "agent.spawn"
EVENT_PROCESS = "event.process"
STATE_PERSIST = "state.persist"
MESSAGE_DELIVER = "message.deliver"
DEPENDENCY_RESOLVE = "dependency.resolve"
RECOVERY_RUN = "recovery.run"

# Operations of ours that have no target.
COMMAND_RUN = "command.run"
ORCHESTRATION_RUN = "orchestration.run"
AGENT_TASK = "agent.task"
TOOL_EXECUTE = "tool.execute"
AGENT_TURN = "agent.turn"
AGENT_PLAN = "agent.plan"
AGENT_RUN = "agent.run"
AGENT_PLAN = "agent.plan"
CONTEXT_COMPACT = "context.compact"
API_ERROR = "api.error"
USER_WAIT = "user.wait"
SESSION_COST = "session.cost"
MEMORY_TRIM = "memory.trim"
SESSION_RETENTION = "session.retention"
FLEET_JOIN = "fleet.join"

# Of a span that is no operation.
FILE_CHANGE = "file.change"

# Long ones: their start is on disk at once, in case their process is killed.
LONG_OPERATIONS = frozenset(
    (AGENT_RUN, AGENT_SPAWN, AGENT_TASK, AGENT_TURN, COMMAND_RUN, ORCHESTRATION_RUN)
)

# Span attributes.
OPERATION_NAME = "orchestration.operation.name"
ERROR_TYPE = "error.type"
SESSION_ID = "session.id"
SESSION_PREVIOUS_ID = "session.previous_id"
GEN_AI_AGENT_NAME = "gen_ai.agent.name"
GEN_AI_CONVERSATION_ID = "gen_ai.conversation.id"
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_TOOL_NAME = "gen_ai.tool.name"
GEN_AI_TOOL_CALL_ID = "gen_ai.tool.call.id"
HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
GEN_AI_AGENT_ID = "gen_ai.agent.id"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_TOKEN_MODALITY = "gen_ai.token.modality"  # noqa: S105 - counted, never secret
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
# The released name of the same, written beside it until the new one is released, too.
GEN_AI_USAGE_CACHE_CREATION_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
GEN_AI_USAGE_REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds
PROCESS_EXECUTABLE_NAME = "process.executable.name"
PROCESS_EXIT_CODE = "process.exit.code"
MESSAGING_DESTINATION_NAME = "messaging.destination.name"
MESSAGING_BODY_SIZE = "messaging.message.body.size"
EVENT_NAME = "event.name"
EVENTS_DROPPED = "orchestration.events.dropped"
HOOK_EVENT_NAME = "orchestration.hook.event_name"
HOOK_OUTCOME = "orchestration.hook.outcome"
HOOK_BLOCKED = "blocked"  # its value where a hook objects: it has done its work, and not failed
OUTCOME = "orchestration.outcome"
# Its values: what was not carried out, or not to its end, and has not failed.
DENIED_BY_USER = "denied_by_user"
DENIED_BY_RULE = "denied_by_rule"
BLOCKED_BY_HOOK = "blocked_by_hook"
INTERRUPTED = "interrupted"
CANCELLED = "cancelled"
MESSAGE_KIND = "orchestration.message.kind"
MESSAGE_SENDER = "orchestration.message.sender"
MESSAGE_TRIES = "orchestration.message.tries"
MESSAGE_TOPIC = "orchestration.message.topic"
RESULT_COUNT = "orchestration.result.count"
STATE_PATH = "orchestration.state.path"
TASK_ID = "orchestration.task.id"
MEMORY_PRESSURE = "orchestration.memory.pressure"
SESSIONS_ARCHIVED = "orchestration.sessions.archived"
SESSIONS_REMOVED = "orchestration.sessions.removed"
MEMORY_BEFORE = "orchestration.memory.before"  # bytes, as the two below
MEMORY_AFTER = "orchestration.memory.after"
MEMORY_LIMIT = "orchestration.memory.limit"
RECOVERY_KIND = "orchestration.recovery.kind"
RECOVERY_STEP_PREFIX = "orchestration.recovery.step."  # seconds, by the step's name
API_ATTEMPTS = "orchestration.api.attempts"
API_REQUESTS = "orchestration.api.requests"
COMPACT_TRIGGER = "orchestration.compact.trigger"
COMPACT_TOKENS = "orchestration.compact.tokens"
HOOK_MATCHER = "orchestration.hook.matcher"
HOOK_NAME = "orchestration.hook.name"
HOOK_PLUGIN = "orchestration.hook.plugin"
SESSION_COST_USD = "orchestration.session.cost"
SESSION_API_TIME = "orchestration.session.api.time"
SESSION_TOOLS_TIME = "orchestration.session.tools.time"
SESSION_MODELS = "orchestration.session.models"
SESSION_MODEL_COSTS = "orchestration.session.models.cost"
PROJECT_NAME = "orchestration.project.name"
SESSION_NAME = "orchestration.session.name"  # what a person knows it by: its project and its start
# Written by the Collector, for what Grafana can only choose among the values of one attribute.
SESSION_LABEL = "orchestration.session.label"  # the name, and the id after `NAMED`
TRACE_RANK = "orchestration.trace.rank"  # nanoseconds with leading zeros, session id, trace id
NAMED = " · "
PROMPT_ID = "orchestration.prompt.id"
RETRY_ATTEMPT = "orchestration.retry.attempt"
RETRY_DELAY = "orchestration.retry.delay"
# Of a turn that asked several models: which, and in their order how much each used; by the name of
# the sum over all of them.
USAGE_MODELS = "orchestration.usage.models"
USAGE_OF_MODELS = {
    API_REQUESTS: "orchestration.usage.requests",
    GEN_AI_USAGE_INPUT_TOKENS: "orchestration.usage.input_tokens",
    GEN_AI_USAGE_CACHE_READ_TOKENS: "orchestration.usage.cache_read.input_tokens",
    GEN_AI_USAGE_CACHE_WRITE_TOKENS: "orchestration.usage.cache_write.input_tokens",
    GEN_AI_USAGE_OUTPUT_TOKENS: "orchestration.usage.output_tokens",
    GEN_AI_USAGE_REASONING_TOKENS: "orchestration.usage.reasoning.output_tokens",
}
WAIT_REASON = "orchestration.wait.reason"
# Its values: what a person was waited for.
WAIT_PERMISSION = "permission"
WAIT_QUESTION = "question"
WAIT_PLAN = "plan"
WAIT_INPUT = "input"
UNFINISHED = "unfinished"  # the error type of an operation that never ended
UNFINISHED_REASON = "orchestration.unfinished.reason"

# A log record of the event stream that says that an alert began to fire, or ended.
PERFORMANCE_ALERT = "performance_alert"

# Its attributes. Labels that have none of their own follow the prefix.
ALERT_NAME = "orchestration.alert.name"
ALERT_STATE = "orchestration.alert.state"
ALERT_SEVERITY = "orchestration.alert.severity"
ALERT_KIND = "orchestration.alert.kind"
ALERT_TARGET = "orchestration.alert.target"
ALERT_VALUE = "orchestration.alert.value"
ALERT_START = "orchestration.alert.start"
ALERT_END = "orchestration.alert.end"
ALERT_DURATION = "orchestration.alert.duration"
ALERT_FINGERPRINT = "orchestration.alert.fingerprint"
ALERT_EVALUATOR = "orchestration.alert.evaluator"
ALERT_RECOMMENDATION = "orchestration.alert.recommendation"
ALERT_RUNBOOK = "orchestration.alert.runbook"
ALERT_DASHBOARD = "orchestration.alert.dashboard"
ALERT_LABEL_PREFIX = "orchestration.alert.label."

# Values of the GenAI operation's name.
CREATE_AGENT = "create_agent"
INVOKE_AGENT = "invoke_agent"
INVOKE_WORKFLOW = "invoke_workflow"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"

# What attributes were called before, by their name of today; a span that has both is of today.
FORMER_NAMES = {
    GEN_AI_PROVIDER_NAME: "gen_ai.system",
    GEN_AI_USAGE_INPUT_TOKENS: "gen_ai.usage.prompt_tokens",
    GEN_AI_USAGE_OUTPUT_TOKENS: "gen_ai.usage.completion_tokens",
    GEN_AI_USAGE_CACHE_WRITE_TOKENS: GEN_AI_USAGE_CACHE_CREATION_TOKENS,
}

# The acting session and agent, inherited by all that runs on their behalf: baggage, set on each
# span.
INHERITED_ATTRIBUTES = (SESSION_ID, GEN_AI_AGENT_NAME, GEN_AI_CONVERSATION_ID)

# Resource attributes.
SERVICE_NAME = "service.name"
UNKNOWN_SERVICE = "unknown_service"  # as the SDK calls one without a name
SERVICE_INSTANCE_ID = "service.instance.id"
SERVICE_VERSION = "service.version"
PROCESS_PID = "process.pid"
HOST_NAME = "host.name"
HOST_ID = "host.id"
TEAM = "orchestration.team"  # of a machine of a fleet

# The service whose spans the monitor process records on behalf of the sessions that it follows.
CLAUDE_CODE_SERVICE = "claude-code"

# Metrics.
OPERATION_DURATION = "orchestration.operation.duration"
TASK_COMPLETED = "orchestration.task.completed"
AGENT_ACTIVE = "orchestration.agent.active"
MESSAGE_SENT = "orchestration.message.sent"
MESSAGE_DELIVERED = "orchestration.message.delivered"
MESSAGE_LATE = "orchestration.message.late"
MESSAGE_LOST = "orchestration.message.lost"
MESSAGE_DEAD = "orchestration.message.dead"
MESSAGE_UNREAD_AGE = "orchestration.message.unread.age"
AGENT_RESTARTS = "orchestration.agent.restarts"
MEMORY_USAGE = "orchestration.memory.usage"
MEMORY_FREED = "orchestration.memory.freed"
RECOVERY_FOUND = "orchestration.recovery.found"  # also the prefix of the same on the span
EVENT_MISSED = "orchestration.event.missed"
STATE_CACHE_HITS = "orchestration.state.cache.hits"
STATE_CACHE_MISSES = "orchestration.state.cache.misses"
STATE_CACHE_EVICTIONS = "orchestration.state.cache.evictions"
STATE_CACHE_SIZE = "orchestration.state.cache.size"
# What the runtime says of itself, beside levels and key figures.
RUNTIME_METRICS = (
    *(MESSAGE_SENT, MESSAGE_DELIVERED, MESSAGE_LATE, MESSAGE_LOST, MESSAGE_DEAD),
    *(MESSAGE_UNREAD_AGE, AGENT_RESTARTS, EVENT_MISSED),
    *(STATE_CACHE_HITS, STATE_CACHE_MISSES, STATE_CACHE_EVICTIONS, STATE_CACHE_SIZE),
)
CONSISTENCY_VIOLATIONS = "orchestration.state.consistency.violations"
VIOLATION_KIND = "orchestration.violation.kind"
STORAGE_SIZE = "orchestration.storage.size"
STORAGE_GROWTH = "orchestration.storage.growth"
INPUT_TOKENS = "gen_ai.client.inference.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.client.inference.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.client.inference.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.client.inference.usage.cache_write.input_tokens"
REASONING_TOKENS = "gen_ai.client.inference.usage.reasoning.output_tokens"
# How they were counted before: all kinds in one, input without the cached one.
FORMER_TOKEN_USAGE = "orchestration.token.usage"  # noqa: S105 - as above
FORMER_TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - as above
# Of call paths, with and without what they call; their order sorts callers before what they call.
CALL_SELF_TIME = "orchestration.call.self.time"
CALL_TIME = "orchestration.call.time"
CALL_PATH = "orchestration.call.path"
CALL_ORDER = "orchestration.call.order"
CALL_LEVEL = "orchestration.call.level"
CALL_SEPARATOR = ";"  # between the names of a path
TASK_THROUGHPUT = "orchestration.task.throughput"
TASK_SUCCESS_RATIO = "orchestration.task.success.ratio"
TASK_ERROR_RATIO = "orchestration.task.error.ratio"
AGENT_UTILIZATION = "orchestration.agent.utilization"
PARALLEL_RATIO = "orchestration.parallel.ratio"
EFFICIENCY_RATIO = "orchestration.efficiency.ratio"
SESSION_MEMORY = "orchestration.session.memory"
TEST_COVERAGE = "orchestration.test.coverage"
CODE_QUALITY = "orchestration.code.quality"
DOCUMENTATION_COVERAGE = "orchestration.documentation.coverage"

# What a process and its host use.
PROCESS_CPU_TIME = "process.cpu.time"
PROCESS_CPU_UTILIZATION = "process.cpu.utilization"
PROCESS_DISK_IO = "process.disk.io"
PROCESS_MEMORY_USAGE = "process.memory.usage"
PROCESS_THREADS = "process.thread.count"
PROCESS_FILE_DESCRIPTORS = "process.unix.file_descriptor.count"
PROCESS_UPTIME = "process.uptime"
SYSTEM_CPU_UTILIZATION = "system.cpu.utilization"
SYSTEM_DISK_IO = "system.disk.io"
SYSTEM_FILESYSTEM_USAGE = "system.filesystem.usage"
SYSTEM_MEMORY_USAGE = "system.memory.usage"
SYSTEM_MEMORY_UTILIZATION = "system.memory.utilization"

# Their attributes.
CPU_MODE = "cpu.mode"
DISK_DIRECTION = "disk.io.direction"
MEMORY_STATE = "system.memory.state"
FILESYSTEM_STATE = "system.filesystem.state"

# Metrics of the pipeline itself, which Prometheus fetches from the monitor process: through the
# Collector they would not arrive when it matters.
SPOOL_SIZE = "orchestration.spool.size"
SPOOL_LIMIT = "orchestration.spool.limit"
SPOOL_UNREAD = "orchestration.spool.unread"
SPOOL_UNREAD_AGE = "orchestration.spool.unread.age"
TELEMETRY_LOST = "orchestration.telemetry.lost"

# Their attributes.
SPOOL_FAMILY = "orchestration.spool.family"
LOSS_REASON = "orchestration.loss.reason"

# Metric attribute that says how an operation ended, as the Collector's span_metrics spells it.
STATUS_CODE = "status.code"
STATUS_OK = "STATUS_CODE_OK"
STATUS_ERROR = "STATUS_CODE_ERROR"
