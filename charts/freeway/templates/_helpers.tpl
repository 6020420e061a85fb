{{- define "freeway.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "freeway.fullname" -}}
{{- $name := include "freeway.name" . }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "freeway.instance" -}}
app.kubernetes.io/name: {{ include "freeway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "freeway.selector" -}}
{{ include "freeway.instance" . }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "freeway.redisSelector" -}}
{{ include "freeway.instance" . }}
app.kubernetes.io/component: redis
{{- end }}

{{- define "freeway.testSelector" -}}
{{ include "freeway.instance" . }}
app.kubernetes.io/component: test
{{- end }}

{{- define "freeway.checkSelector" -}}
{{ include "freeway.instance" . }}
app.kubernetes.io/component: check
{{- end }}

{{- define "freeway.migrateSelector" -}}
{{ include "freeway.instance" . }}
app.kubernetes.io/component: migrate
{{- end }}

{{- define "freeway.labels" -}}
{{ include "freeway.instance" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "freeway.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "freeway.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "freeway.fullname" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "freeway.secret" -}}
{{- .Values.secret.existing | default (include "freeway.fullname" .) }}
{{- end }}

{{/* Whether several gateways could share one count: "true" or nothing. */}}
{{- define "freeway.shared" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret.name .Values.redis.bundled.enabled }}true{{ end }}
{{- end }}

{{- define "freeway.redisOutside" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret.name }}true{{ end }}
{{- end }}

{{/* Whether more than one gateway runs: "true" or nothing. */}}
{{- define "freeway.several" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}true{{ end }}
{{- end }}

{{/* The most gateways there can be: each that has to do without Redis goes by its part of every limit. */}}
{{- define "freeway.most" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int }}
{{- end }}

{{/* A secret that is made up once: what the cluster has, else a new one. Takes (context, Secret, key, given). */}}
{{- define "freeway.kept" -}}
{{- $context := index . 0 }}
{{- $there := lookup "v1" "Secret" $context.Release.Namespace (index . 1) }}
{{- $value := get ((get ($there | default dict) "data") | default dict) (index . 2) }}
{{- if index . 3 }}{{ index . 3 }}
{{- else if $value }}{{ b64dec $value }}
{{- else }}{{ randAlphaNum 40 }}
{{- end }}
{{- end }}

{{- define "freeway.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "freeway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "freeway.redisAddress" -}}
- name: FREEWAY_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.existingSecret.name | default (printf "%s-redis" (include "freeway.fullname" .)) }}
      key: {{ .Values.redis.existingSecret.name | empty | ternary "url" .Values.redis.existingSecret.key }}
{{- end }}

{{/* What pods that do one thing and end have in common with the gateway's. The account of the release may not be there yet. */}}
{{- define "freeway.jobPod" -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "freeway.podSecurity" .Values.runAs | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "freeway.jobContainer" -}}
image: {{ include "freeway.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "freeway.containerSecurity" . | nindent 2 }}
resources:
  requests: {cpu: 50m, memory: 96Mi}
  limits: {cpu: "1", memory: 256Mi}
{{- end }}

{{/* The way to Redis, as rules of a NetworkPolicy. */}}
{{- define "freeway.toRedis" -}}
{{- if include "freeway.redisOutside" . }}
- ports:
    {{- range .Values.networkPolicy.redisPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- else if .Values.redis.bundled.enabled }}
- to:
    - podSelector:
        matchLabels: {{- include "freeway.redisSelector" . | nindent 10 }}
  ports: [{port: 6379, protocol: TCP}]
{{- end }}
{{- end }}

{{/* Whether the old gateway of an upgrade may still run while the new one starts: both on one node, on one volume. */}}
{{- define "freeway.overlaps" -}}
{{- if and .Values.persistence.enabled (not (has "ReadWriteOncePod" .Values.persistence.accessModes)) }}true{{ end }}
{{- end }}
