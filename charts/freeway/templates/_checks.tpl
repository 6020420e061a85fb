{{/*
What cannot work, one plain sentence each. What a value may look like stands in values.schema.json; here is what several of them
mean together, and what needs an explanation.
*/}}
{{- define "freeway.checks" -}}
{{- if and (include "freeway.several" .) (not (include "freeway.shared" .)) }}
{{- fail (printf "\n\n%d gateways are wanted and no Redis is named: they share one count of every quota only by a Redis. Set redis.url, redis.existingSecret.name or redis.bundled.enabled=true, or replicas=1 without autoscaling.\n" (include "freeway.most" . | int)) }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "\n\nautoscaling.minReplicas is %d and maxReplicas %d: the first must not be more than the second.\n" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- end }}
{{- $last := splitList "/" .Values.image.repository | last }}
{{- if contains ":" $last }}
{{- $name := splitList ":" $last | first }}
{{- fail (printf "\n\nimage.repository is %q, which has a tag: set image.repository=%s and image.tag=%s.\n" .Values.image.repository (printf "%s%s" (trimSuffix $last .Values.image.repository) $name) (splitList ":" $last | last)) }}
{{- end }}
{{- $known := .Files.Lines "keys.txt" }}
{{- range (.Values.config.provider | default dict) }}{{ if .key_env }}{{ $known = append $known .key_env }}{{ end }}{{ end }}
{{- range $name, $_ := .Values.secret.keys }}
{{- if not (has $name $known) }}
{{- fail (printf "\n\nsecret.keys.%s is a variable of no source: is it misspelt? Those that are known are %s; one of a provider of your own is named by its key_env in config.provider.\n" $name (join ", " (without $known ""))) }}
{{- end }}
{{- end }}
{{- end }}
