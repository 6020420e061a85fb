{{/* The gateway's own file: `config`, and what the chart sets. */}}
{{- define "freeway.file" -}}
{{- $own := dict
  "server" (dict "drain" .Values.drain)
  "ledger" (dict "replicas" (include "freeway.most" . | int))
  "embedded" (dict "enabled" "off") }}
{{- include "freeway.toml" (mustMergeOverwrite (deepCopy .Values.config) $own) }}
{{- end }}

{{/*
Values as TOML. Helm's own toToml writes 3 as 3.0 and 1048576 as 1.048576e+06, since Helm knows one kind of number, and
the gateway takes neither for a count. A string of JSON is a string of TOML.
*/}}
{{- define "freeway.toml" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ toJson $key }} = {{ include "freeway.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
[{{ toJson $key }}]
{{- range $inner, $value := $value }}
{{- if not (kindIs "invalid" $value) }}
{{ toJson $inner }} = {{ include "freeway.tomlValue" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "freeway.tomlValue" -}}
{{- if kindIs "map" . }}
{{- $pairs := list }}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (include "freeway.tomlValue" $value)) }}
{{- end }}
{{- end }}{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . }}
{{- $items := list }}
{{- range . }}{{ $items = append $items (include "freeway.tomlValue" .) }}{{ end }}[{{ join ", " $items }}]
{{- else if kindIs "float64" . }}
{{- if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ printf "%v" . }}{{ end }}
{{- else if kindIs "string" . }}{{ toJson . }}
{{- else }}{{ printf "%v" . }}
{{- end }}
{{- end }}
