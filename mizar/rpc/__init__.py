# SPDX-License-Identifier: Apache-2.0
"""The node API on the wire: channels, servers, errors and value conversions around the generated stubs.

Nothing here decides anything; what a message means is the business of the agent and the controller.
"""
