"""What generated files are written with: PromQL, rules, Markdown, YAML."""
