"""Contact of the cars of a race: boxes as long and wide as the bodywork that bump into each other and rub.

Every contact is resolved from the velocities before it, so the order of the cars does not matter: a car with n contacts
is taken for n cars of an nth of its mass, each with one of them, whose mean it is afterwards (mass splitting: Tonge,
Benevolenski and Voroshilov, "Mass splitting for jitter-free parallel rigid body simulation", 2012). Each of these
impulses loses energy, and so does the mean; momentum and angular momentum are kept. What still overlaps is pushed
apart, for at walking pace cars roll where their wheels point, whatever velocity they are given.
"""

from __future__ import annotations

import math

import numpy as np

from racing.sim.kernels.kernel import inlined, kernel, real

ZERO, HALF, ONE = real(0), real(0.5), real(1)
PUSH = real(0.3)  # share of an overlap that a physics step takes away,
SLACK = real(0.005)  # beyond so much [car lengths], which stays: cars that lean on each other don't tremble
FARTHEST_PUSH = real(0.02)  # [car lengths] that a car is pushed in a physics step
# Rows of a race's bodies, a column per car. Centre of the bodywork [m], its direction, velocity [m/s] and yaw rate
# [rad/s] in the world's frame; the vehicle's mass as a multiple of its own; what contacts add to the velocities, and
# where they push it [m].
X, Y, COS, SIN, VX, VY, SPIN, LIGHTNESS = range(8)
ADD_VX, ADD_VY, ADD_SPIN, PUSH_X, PUSH_Y = range(8, 13)
CONTACTS = 13  # number of cars that this one hits now
BODY_ROWS = 14
# Columns of a contact: the two cars, the normal from the first to the second, how deep they overlap [m], where [m] from
# the centre of the first, and how fast they meet [m/s], negative: they part.
FIRST, SECOND, NORMAL_X, NORMAL_Y, DEPTH, AT_X, AT_Y, CLOSING = range(8)
CONTACT_COLUMNS = 8


@kernel
def find_contacts(bodies, count, length, width, contacts):
    """Find which of the first `count` cars overlap; returns how many pairs do, described in the rows of `contacts`.

    bodies (BODY_ROWS, >= count), contacts (>= count * (count - 1) / 2, CONTACT_COLUMNS).
    """
    found = 0
    reach = length * length + width * width  # [m^2] of the distance of two cars whose corners touch
    for i in range(count):
        for j in range(i + 1, count):
            dx, dy = bodies[X, j] - bodies[X, i], bodies[Y, j] - bodies[Y, i]
            if dx * dx + dy * dy < reach and overlap(bodies, i, j, length, width, contacts[found]):
                found += 1
    return found


@kernel
def overlap(bodies, i, j, length, width, contact):
    """Whether cars i and j overlap, by the separating axis theorem; if so, `contact` is filled in.

    The normal is the side along which they overlap least (of several, the first: along and across car i, then j).
    """
    a, b = HALF * length, HALF * width
    dx, dy = bodies[X, j] - bodies[X, i], bodies[Y, j] - bodies[Y, i]
    cos_i, sin_i, cos_j, sin_j = bodies[COS, i], bodies[SIN, i], bodies[COS, j], bodies[SIN, j]
    cos, sin = abs(cos_i * cos_j + sin_i * sin_j), abs(cos_i * sin_j - sin_i * cos_j)  # of the angle between them
    far_along, far_across = a + a * cos + b * sin, b + a * sin + b * cos
    depth = real(np.inf)
    for axis in range(4):
        c, s = (cos_i, sin_i) if axis < 2 else (cos_j, sin_j)
        along = axis % 2 == 0
        nx, ny = (c, s) if along else (-s, c)
        distance = dx * nx + dy * ny
        deep = (far_along if along else far_across) - abs(distance)
        if deep <= ZERO:
            return False
        if deep < depth:
            sign = ONE if distance >= ZERO else -ONE
            depth, contact[NORMAL_X], contact[NORMAL_Y] = deep, sign * nx, sign * ny
    contact[FIRST], contact[SECOND], contact[DEPTH] = i, j, depth
    contact[AT_X], contact[AT_Y] = middle(dx, dy, cos_i, sin_i, cos_j, sin_j, a, b)
    return True


@kernel
def middle(dx, dy, cos_i, sin_i, cos_j, sin_j, a, b):
    """The mean corner of what two overlapping cars share, from the centre of the first [m], in the world's frame.

    dx, dy: from the centre of the first to that of the second [m]. a, b: half of a car's length and width [m].
    """
    across, up = dx * cos_i + dy * sin_i, dy * cos_i - dx * sin_i
    cos, sin = cos_i * cos_j + sin_i * sin_j, cos_i * sin_j - sin_i * cos_j
    polygon = np.empty((2, 8, 2), real)
    now, corners = 0, 4
    for k in range(4):  # the second car in the frame of the first
        x, y = (a if k == 0 or k == 3 else -a), (b if k < 2 else -b)
        polygon[0, k, 0], polygon[0, k, 1] = across + x * cos - y * sin, up + x * sin + y * cos
    for side in range(4):  # keep what lies within each side of the first (Sutherland and Hodgman 1974)
        axis, sign, limit = side // 2, (ONE if side % 2 == 0 else -ONE), (a if side < 2 else b)
        then, kept = 1 - now, 0
        for k in range(corners):
            x, y = polygon[now, k, 0], polygon[now, k, 1]
            x2, y2 = polygon[now, (k + 1) % corners, 0], polygon[now, (k + 1) % corners, 1]
            here = limit - sign * (x if axis == 0 else y)
            there = limit - sign * (x2 if axis == 0 else y2)
            if here >= ZERO:
                polygon[then, kept, 0], polygon[then, kept, 1] = x, y
                kept += 1
            if (here >= ZERO) != (there >= ZERO):
                share = here / (here - there)
                polygon[then, kept, 0], polygon[then, kept, 1] = x + share * (x2 - x), y + share * (y2 - y)
                kept += 1
        now, corners = then, kept
    x = y = ZERO
    for k in range(corners):
        x, y = x + polygon[now, k, 0], y + polygon[now, k, 1]
    if corners == 0:  # rounding: they touch in a point
        return HALF * dx, HALF * dy
    x, y = x / real(corners), y / real(corners)
    return x * cos_i - y * sin_i, x * sin_i + y * cos_i


@inlined
def meeting(bodies, contact):
    """Velocity [m/s] of the second car against the first at a contact, and the levers from both centres [m]."""
    i, j = int(contact[FIRST]), int(contact[SECOND])
    ax, ay = contact[AT_X], contact[AT_Y]
    bx, by = ax + (bodies[X, i] - bodies[X, j]), ay + (bodies[Y, i] - bodies[Y, j])
    vx = (bodies[VX, j] - bodies[SPIN, j] * by) - (bodies[VX, i] - bodies[SPIN, i] * ay)
    vy = (bodies[VY, j] + bodies[SPIN, j] * bx) - (bodies[VY, i] + bodies[SPIN, i] * ax)
    return i, j, vx, vy, ax, ay, bx, by


@kernel
def resolve(bodies, count, contacts, found, vehicle, restitution, friction):
    """Change velocities by the impulses of `found` contacts, and places where cars overlap.

    vehicle: its length, width, inv_mass and inv_inertia count. restitution: 0 dead, 1 elastic. friction: coefficient of
    body against body. CLOSING of each contact is filled in.
    """
    for i in range(count):
        for row in range(ADD_VX, BODY_ROWS):
            bodies[row, i] = ZERO
    for k in range(found):
        contact = contacts[k]
        i, j, vx, vy, _, _, _, _ = meeting(bodies, contact)
        contact[CLOSING] = -(vx * contact[NORMAL_X] + vy * contact[NORMAL_Y])
        if contact[CLOSING] > ZERO:
            bodies[CONTACTS, i] += ONE
            bodies[CONTACTS, j] += ONE
    for k in range(found):
        if contacts[k, CLOSING] > ZERO:
            bump(bodies, contacts[k], vehicle, restitution, friction)
        separate(bodies, contacts[k], vehicle.length)
    most = FARTHEST_PUSH * vehicle.length
    for i in range(count):
        far = math.sqrt(bodies[PUSH_X, i] * bodies[PUSH_X, i] + bodies[PUSH_Y, i] * bodies[PUSH_Y, i])
        share = most / far if far > most else ONE
        bodies[X, i] += share * bodies[PUSH_X, i]
        bodies[Y, i] += share * bodies[PUSH_Y, i]
        bodies[VX, i] += bodies[ADD_VX, i]
        bodies[VY, i] += bodies[ADD_VY, i]
        bodies[SPIN, i] += bodies[ADD_SPIN, i]


@kernel
def bump(bodies, contact, vehicle, restitution, friction):
    """Add what the impulse of one contact changes of both cars' velocities."""
    i, j, vx, vy, ax, ay, bx, by = meeting(bodies, contact)
    nx, ny = contact[NORMAL_X], contact[NORMAL_Y]
    tx, ty = -ny, nx
    light_i, light_j = bodies[LIGHTNESS, i], bodies[LIGHTNESS, j]
    times_i, times_j = bodies[CONTACTS, i] * light_i, bodies[CONTACTS, j] * light_j
    a_normal, a_tangent = ax * ny - ay * nx, ax * ty - ay * tx  # [m] levers
    b_normal, b_tangent = bx * ny - by * nx, bx * ty - by * tx
    light = (times_i + times_j) * vehicle.inv_mass  # of the parts of the two cars that meet here
    turn_i, turn_j = times_i * vehicle.inv_inertia, times_j * vehicle.inv_inertia
    normal = light + turn_i * a_normal * a_normal + turn_j * b_normal * b_normal
    tangent = light + turn_i * a_tangent * a_tangent + turn_j * b_tangent * b_tangent
    mixed = turn_i * a_normal * a_tangent + turn_j * b_normal * b_tangent
    push = (ONE + restitution) * contact[CLOSING] / normal  # [N s]
    sliding = vx * tx + vy * ty + push * mixed  # after the push
    rub = min(max(-sliding / tangent, -friction * push), friction * push)
    px, py = push * nx + rub * tx, push * ny + rub * ty
    bodies[ADD_VX, i] -= px * (vehicle.inv_mass * light_i)
    bodies[ADD_VY, i] -= py * (vehicle.inv_mass * light_i)
    bodies[ADD_SPIN, i] -= (ax * py - ay * px) * (vehicle.inv_inertia * light_i)
    bodies[ADD_VX, j] += px * (vehicle.inv_mass * light_j)
    bodies[ADD_VY, j] += py * (vehicle.inv_mass * light_j)
    bodies[ADD_SPIN, j] += (bx * py - by * px) * (vehicle.inv_inertia * light_j)


@kernel
def separate(bodies, contact, length):
    """Add how far the two cars of a contact are pushed apart."""
    i, j = int(contact[FIRST]), int(contact[SECOND])
    far = HALF * PUSH * max(contact[DEPTH] - SLACK * length, ZERO)
    bodies[PUSH_X, i] -= far * contact[NORMAL_X]
    bodies[PUSH_Y, i] -= far * contact[NORMAL_Y]
    bodies[PUSH_X, j] += far * contact[NORMAL_X]
    bodies[PUSH_Y, j] += far * contact[NORMAL_Y]
