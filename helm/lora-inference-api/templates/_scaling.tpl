{{- define "lora-api.scaleTarget" -}}
{{- if .pool.multiNode.enabled -}}
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
name: {{ include "lora-api.fullname" .root }}-{{ .name }}-nodes
{{- else -}}
apiVersion: apps/v1
kind: Deployment
name: {{ include "lora-api.fullname" .root }}-{{ .name }}
{{- end }}
{{- end -}}

{{- /* A pod that goes has streams to end, and its successor models to load: slowly down. */ -}}
{{- define "lora-api.scaleBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .autoscaling.scaleDownSeconds }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: 120
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 60
{{- end -}}
