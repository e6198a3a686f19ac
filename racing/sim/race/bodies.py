"""The cars of a block as bodies that touch: their velocities in the world's frame, and back."""

from __future__ import annotations

import math

from racing.sim.dynamics import KINEMATIC, LINEAR, STEER, YAW, YAW_RATE, V, W, X, Y
from racing.sim.kernels.kernel import kernel, real
from racing.sim.kernels.trig import sincos
from racing.sim.race import contact
from racing.sim.race.contact import find_contacts, resolve
from racing.sim.race.traffic import is_met
from racing.sim.variation import kernels as variation

ZERO, HALF, ONE = real(0), real(0.5), real(1)
NOSE = real(0.7)  # cosine of 45 degrees: a normal within so much of a car's axis hits nose or tail, else a side
SIDEWAYS = real(0.3)  # [m/s] by which one car moves more towards the other than that one does, to be alone at fault


@kernel
def touch(block, column, first, count, vehicle, race, traffic, bodies, contacts, vary):
    """Let the cars of a race touch: cars first..first+count-1, in the columns of a block from `column` on."""
    if not near_each_other(block, column, count, vehicle):
        return
    for k in range(count):
        put_body(block, column + k, is_met(traffic[first + k]), vehicle, bodies, k)
        bodies[contact.LIGHTNESS, k] = ONE if vary is None else variation.lightness(first + k, vary)
    found = find_contacts(bodies, count, vehicle.length, vehicle.width, contacts)
    if found == 0:
        return
    resolve(bodies, count, contacts, found, vehicle, race.restitution, race.body_friction)
    for k in range(found):
        note(bodies, contacts[k], first, traffic)
    for k in range(count):
        if is_met(traffic[first + k]):
            take_body(block, column + k, vehicle, bodies, k)


@kernel
def near_each_other(block, column, count, vehicle):
    """Whether any two cars of a race may touch."""
    reach = vehicle.length + vehicle.width + vehicle.rear_axle + vehicle.rear_axle
    for i in range(column, column + count):
        for j in range(i + 1, column + count):
            dx, dy = block[X, j] - block[X, i], block[Y, j] - block[Y, i]
            if dx * dx + dy * dy < reach * reach:
                return True
    return False


@kernel
def put_body(block, j, met, vehicle, bodies, k):
    """Write the car in column j of a block as body k; one that is not met lies far from everybody."""
    yaw, v, w = block[YAW, j], block[V, j], block[W, j]
    sin, cos = sincos(yaw)
    x, y, along, across, spin = block[X, j], block[Y, j], v, w, block[YAW_RATE, j]
    if vehicle.model == LINEAR:
        slip_sin, slip_cos = sincos(w)
        along, across = v * slip_cos, v * slip_sin
    if vehicle.model == KINEMATIC:
        x, y = x + vehicle.rear_axle * cos, y + vehicle.rear_axle * sin
        spin = v * math.tan(block[STEER, j]) / (vehicle.front_axle + vehicle.rear_axle)
        across = vehicle.rear_axle * spin
    if not met:
        x = real(1e6) * real(k + 1)
    bodies[contact.X, k], bodies[contact.Y, k], bodies[contact.COS, k], bodies[contact.SIN, k] = x, y, cos, sin
    bodies[contact.VX, k], bodies[contact.VY, k] = along * cos - across * sin, along * sin + across * cos
    bodies[contact.SPIN, k] = spin


@kernel
def take_body(block, j, vehicle, bodies, k):
    """Read where contacts have put body k, and how fast, back to column j of a block."""
    cos, sin = bodies[contact.COS, k], bodies[contact.SIN, k]
    vx, vy = bodies[contact.VX, k], bodies[contact.VY, k]
    along, across = vx * cos + vy * sin, vy * cos - vx * sin
    x, y = bodies[contact.X, k], bodies[contact.Y, k]
    block[V, j], block[YAW_RATE, j], block[W, j] = along, bodies[contact.SPIN, k], across
    if vehicle.model == LINEAR:
        speed = math.sqrt(along * along + across * across)
        block[V, j] = speed if along >= ZERO else -speed
        block[W, j] = math.atan2(across if along >= ZERO else -across, abs(along)) if speed > ZERO else ZERO
    if vehicle.model == KINEMATIC:
        x, y = x - vehicle.rear_axle * cos, y - vehicle.rear_axle * sin
        block[W, j] = ZERO
    block[X, j], block[Y, j] = x, y


@kernel
def note(bodies, found, first, traffic):
    """Note a contact at both cars: with whom, how fast, and whose fault it was."""
    a, b = int(found[contact.FIRST]), int(found[contact.SECOND])
    one, two = traffic[first + a], traffic[first + b]
    if found[contact.CLOSING] > ZERO:
        share = fault(bodies, found)
        one.blame, two.blame = max(one.blame, share), max(two.blame, ONE - share)
        one.closing, two.closing = max(one.closing, found[contact.CLOSING]), max(two.closing, found[contact.CLOSING])
        nx, ny = found[contact.NORMAL_X], found[contact.NORMAL_Y]
        if bodies[contact.COS, a] * nx + bodies[contact.SIN, a] * ny > NOSE:
            one.ran_into = max(one.ran_into, found[contact.CLOSING])
        if bodies[contact.COS, b] * nx + bodies[contact.SIN, b] * ny < -NOSE:
            two.ran_into = max(two.ran_into, found[contact.CLOSING])
    one.contact_with |= 1 << b
    two.contact_with |= 1 << a


@kernel
def fault(bodies, found):
    """The first car's share of the blame for a contact, [0, 1]; the second has the rest. A convention, not a finding.

    Nose to tail it is the car behind; nose to nose both; else who moves towards the other.
    """
    a, b = int(found[contact.FIRST]), int(found[contact.SECOND])
    nx, ny = found[contact.NORMAL_X], found[contact.NORMAL_Y]
    heads_a = bodies[contact.COS, a] * nx + bodies[contact.SIN, a] * ny
    heads_b = bodies[contact.COS, b] * nx + bodies[contact.SIN, b] * ny
    if heads_a > NOSE and heads_b > NOSE:
        return ONE
    if heads_a < -NOSE and heads_b < -NOSE:
        return ZERO
    if heads_a > NOSE and heads_b < -NOSE:
        return HALF
    towards_b = bodies[contact.VX, a] * nx + bodies[contact.VY, a] * ny - bodies[contact.ADD_VX, a] * nx
    towards_b -= bodies[contact.ADD_VY, a] * ny  # before the blow
    towards_a = -(bodies[contact.VX, b] - bodies[contact.ADD_VX, b]) * nx
    towards_a -= (bodies[contact.VY, b] - bodies[contact.ADD_VY, b]) * ny
    if towards_b > towards_a + SIDEWAYS:
        return ONE
    return ZERO if towards_a > towards_b + SIDEWAYS else HALF
