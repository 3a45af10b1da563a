"""What an orchestration is built of, as a library: state, events, messages, tasks and agents."""
