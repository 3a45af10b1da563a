{{- define "orchwatch-fleet.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "orchwatch-fleet.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "orchwatch-fleet.labels" -}}
{{ include "orchwatch-fleet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "orchwatch-fleet.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "orchwatch-fleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* The agent: a container, for the pod of the DaemonSet and for that of another chart. */ -}}
{{- define "orchwatch-fleet.agent.container" -}}
- name: orchwatch-agent
  image: {{ include "orchwatch-fleet.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [--config=/config/config.yaml, --config=/config/agent.yaml]
  securityContext:
    {{- include "orchwatch-fleet.containerSecurity" . | nindent 4 }}
    runAsUser: {{ .Values.agent.runAsUser }}
  env:
    {{- if eq .Values.agent.mode "daemonset" }}
    - name: NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    - name: ORCHWATCH_HOST_ID
      value: "{{ with .Values.agent.cluster }}{{ . }}-{{ end }}$(NODE_NAME)"
    - name: ORCHWATCH_HOST_NAME
      value: $(NODE_NAME)
    {{- else }}
    - name: ORCHWATCH_HOST_ID
      valueFrom: {fieldRef: {fieldPath: metadata.uid}}
    - name: ORCHWATCH_HOST_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    {{- end }}
    - name: ORCHWATCH_TEAM
      value: {{ .Values.agent.team | quote }}
    - name: ORCHWATCH_GATEWAY_URL
      value: {{ .Values.agent.gatewayUrl | default (printf "https://%s-gateway:4318" (include "orchwatch-fleet.name" .)) | quote }}
    - name: ORCHWATCH_GATEWAY_CA
      value: {{ if or .Values.agent.caSecret .Values.agent.caConfigMap }}/ca/ca.crt{{ else }}""{{ end }}
    - name: ORCHWATCH_GATEWAY_TOKEN_FILE
      value: /token/token
    - name: ORCHWATCH_ACCESS_DIR
      value: /access
    - name: ORCHWATCH_SPOOL_DIR
      value: /spool
    - name: ORCHWATCH_COLLECTOR_STATE_DIR
      value: /fleet/state
  # No probes: all of its ports are the pod's own, as what it takes over gRPC requires no password. It ends where it cannot go on.
  resources:
    {{- toYaml .Values.agent.resources | nindent 4 }}
  volumeMounts:
    - {name: orchwatch-agent-config, mountPath: /config, readOnly: true}
    - {name: orchwatch-agent-access, mountPath: /access, readOnly: true}
    - {name: orchwatch-agent-token, mountPath: /token, readOnly: true}
    {{- if or .Values.agent.caSecret .Values.agent.caConfigMap }}
    - {name: orchwatch-agent-ca, mountPath: /ca, readOnly: true}
    {{- end }}
    {{- if eq .Values.agent.mode "daemonset" }}
    - {name: orchwatch-agent-spool, mountPath: /spool, readOnly: true}
    - {name: orchwatch-agent-fleet, mountPath: /fleet}
    {{- else }}
    - {name: {{ .Values.agent.sidecarVolume }}, mountPath: /spool, subPath: spool, readOnly: true}
    - {name: {{ .Values.agent.sidecarVolume }}, mountPath: /fleet, subPath: fleet}
    {{- end }}
{{- end -}}

{{- /* What it mounts; a sidecar's spool is a volume of its pod. */ -}}
{{- define "orchwatch-fleet.agent.volumes" -}}
- name: orchwatch-agent-config
  configMap:
    name: {{ include "orchwatch-fleet.name" . }}-agent
    items:
      - {key: config.yaml, path: config.yaml}
      - {key: agent.yaml, path: agent.yaml}
- name: orchwatch-agent-access
  projected:
    sources:
      - configMap:
          name: {{ include "orchwatch-fleet.name" . }}-agent
          items:
            - {key: path, path: path}
            - {key: authorization, path: authorization}
            {{- if not .Values.agent.htpasswdSecret }}
            - {key: htpasswd, path: htpasswd}
            {{- end }}
      {{- with .Values.agent.htpasswdSecret }}
      - secret:
          name: {{ . }}
          items:
            - {key: htpasswd, path: htpasswd}
      {{- end }}
- name: orchwatch-agent-token
  secret:
    secretName: {{ required "agent.tokenSecret must name a secret" .Values.agent.tokenSecret }}
    items:
      - {key: token, path: token}
{{- if .Values.agent.caSecret }}
- name: orchwatch-agent-ca
  secret:
    secretName: {{ .Values.agent.caSecret }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- else if .Values.agent.caConfigMap }}
- name: orchwatch-agent-ca
  configMap:
    name: {{ .Values.agent.caConfigMap }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- if eq .Values.agent.mode "daemonset" }}
- name: orchwatch-agent-spool
  hostPath:
    path: {{ .Values.agent.hostHome }}/spool
    type: Directory
- name: orchwatch-agent-fleet
  hostPath:
    path: {{ .Values.agent.hostHome }}/fleet
    type: Directory
{{- end }}
{{- end -}}
