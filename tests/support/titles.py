"""The workflow of tests in which runs are told apart by their titles, and what a title may show."""

from typing import Final

WORKFLOW: Final = """
name: Deploy
run-name: {title}
on:
  workflow_dispatch:
    inputs:
      image_tag: {{required: true}}
      promotion: {{}}
      gha_step: {{}}
jobs: {{}}
"""
PLAIN, NAMED, MARKED = "Deploy", "Deploy ${{ inputs.promotion }}", "Deploy ${{ inputs.gha_step }}"
